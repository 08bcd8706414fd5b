import { equalBytes } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { isUniqueViolation, type Store, type StoreTransaction } from '../store/store.ts';
import type { Caller } from './caller.ts';

/** An earlier request with the same key has been completed. */
export interface Replay {
  /** @throws request/already-completed when the answer held a secret and was not stored */
  answer(): unknown;
}

/** A change's hold on its Idempotency-Key, inside the change's transaction. */
interface Claim {
  reserve(tx: StoreTransaction): Promise<void>;
  complete(tx: StoreTransaction, answer: unknown): Promise<void>;
}

const keptMilliseconds = 24 * 60 * 60 * 1000;

class IdempotencyRace extends Error {}

/** Answers to retried changes: kept a day, in the same transaction as the change they answer. */
export function createIdempotency({ store, clock }: { store: Store; clock: Clock }) {
  return {
    /**
     * @throws request/idempotency-conflict when the key stood for another request
     */
    async find(caller: Caller, operation: string): Promise<Replay | undefined> {
      const { idempotency, principal } = caller;
      if (!idempotency) return undefined;
      const row = await store.db
        .selectFrom('idempotency')
        .selectAll()
        .where('namespace_id', '=', principal.namespaceId)
        .where('principal_id', '=', principal.id)
        .where('idempotency_key', '=', idempotency.key)
        .where('expires_at', '>', clock.now())
        .executeTakeFirst();
      if (!row) return undefined;
      if (row.operation !== operation || !equalBytes(row.fingerprint, idempotency.fingerprint)) {
        throw new ServiceError(
          'request/idempotency-conflict',
          'This Idempotency-Key was used for another request; use a new key for a new request.',
        );
      }
      const { answer } = row;
      return {
        answer() {
          if (answer !== null) return JSON.parse(answer) as unknown;
          throw new ServiceError(
            'request/already-completed',
            'This request was completed before; its answer held a secret, which is shown once and not stored.',
          );
        },
      };
    },

    claim(caller: Caller, operation: string, secret: boolean): Claim {
      const { idempotency, principal } = caller;
      if (!idempotency) throw new TypeError('the caller has no Idempotency-Key');
      const place = {
        namespace_id: principal.namespaceId,
        principal_id: principal.id,
        idempotency_key: idempotency.key,
      };
      return {
        async reserve(tx) {
          const now = clock.now();
          // Its own earlier self alone: the housekeeping of jobs/ removes the others.
          await tx
            .deleteFrom('idempotency')
            .where('namespace_id', '=', place.namespace_id)
            .where('principal_id', '=', place.principal_id)
            .where('idempotency_key', '=', place.idempotency_key)
            .where('expires_at', '<=', now)
            .execute();
          try {
            await tx
              .insertInto('idempotency')
              .values({
                ...place,
                operation,
                fingerprint: idempotency.fingerprint,
                answer: null,
                expires_at: now + keptMilliseconds,
              })
              .execute();
          } catch (error) {
            throw isUniqueViolation(error) ? new IdempotencyRace() : error;
          }
        },
        async complete(tx, answer) {
          if (secret) return;
          await tx
            .updateTable('idempotency')
            .set({ answer: JSON.stringify(answer) })
            .where('namespace_id', '=', place.namespace_id)
            .where('principal_id', '=', place.principal_id)
            .where('idempotency_key', '=', place.idempotency_key)
            .execute();
        },
      };
    },

    /** True when an equal request took the key between `find` and `reserve`. */
    isRace: (error: unknown): boolean => error instanceof IdempotencyRace,
  };
}
