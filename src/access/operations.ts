import { type AuditLog, DecisionMoved } from '../audit/audit.ts';
import type { AuditEntry, AuditItem, AuditTarget } from '../audit/entry.ts';
import type { Clock } from '../core/clock.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Revision } from '../store/revision.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { Caller, Principal } from './caller.ts';
import { createIdempotency, type Replay } from './idempotency.ts';
import { type Action, actions } from './scopes.ts';

/** One operation under way: what the work may say about itself, and how it changes anything. */
export interface Operation {
  readonly caller: Caller;
  /** Names in the record what was found. */
  target(target: AuditTarget): void;
  /** Adds the items of a batch. */
  items(items: readonly AuditItem[]): void;
  /**
   * Changes the database: `apply`, the audit record and the idempotent answer commit together. At most once
   * an operation. The answer must be plain JSON unless it holds a `secret`, which is never stored.
   * @param options.touches ids of rows that others may have in memory, besides the target's: they forget them
   */
  change<T>(apply: (tx: StoreTransaction) => Promise<T>, options?: ChangeOptions): Promise<T>;
}

export interface ChangeOptions {
  readonly secret?: boolean;
  readonly touches?: readonly string[];
}

export interface Operations {
  /**
   * Authorizes, works, records, answers: in this order, for every operation, so that none can be forgotten.
   * The answer is given only after its record is durable; a refusal is recorded too. Where the token or a key that
   * the work rests on was changed before that, by any process, `work` is run again and decides anew.
   * @throws access/denied, audit/unavailable, request/idempotency-conflict, and what `work` throws
   */
  run<T>(
    caller: Caller,
    action: Action,
    target: AuditTarget | undefined,
    work: (operation: Operation) => Promise<T>,
  ): Promise<T>;
}

/** @throws access/denied unless the caller holds one of the action's scopes */
export function authorize(caller: Caller, action: Action): void {
  const allowing = actions[action];
  if (allowing.some((scope) => caller.principal.scopes.has(scope))) return;
  throw new ServiceError('access/denied', `This needs the scope ${allowing.join(' or ')}.`);
}

/** What the record says of an error: permitted but not done, or not permitted (or no such thing). */
export function outcomeOf(error: unknown): Pick<AuditEntry, 'outcome' | 'code'> {
  if (!isServiceError(error)) return { outcome: 'failed', code: 'internal' };
  const refused =
    /^(access|contribution|coverage|dataset|key|envelope|exchange|fields|import|job|mac|signature|request|webhook)\//.test(
      error.code,
    ) && !error.code.endsWith('/conflict');
  return { outcome: refused ? 'refused' : 'failed', code: error.code };
}

/** Runs of one operation at most. */
const attemptsLimit = 8;
const again = Symbol('again');

interface Attempt<T> {
  readonly caller: Caller;
  readonly action: Action;
  readonly target: AuditTarget | undefined;
  readonly work: (operation: Operation) => Promise<T>;
  readonly last: boolean;
}

export function createOperations({
  audit,
  store,
  clock,
  revision,
  confirm,
}: {
  audit: AuditLog;
  store: Store;
  clock: Clock;
  revision: Revision;
  /** @throws access/unauthenticated when the principal's credential has ended */
  confirm: (principal: Principal) => Promise<void>;
}): Operations {
  const idempotency = createIdempotency({ store, clock });

  /** @returns `again` when what it rests on has moved, and it is not the last attempt: nothing was recorded */
  async function attempt<T>({
    caller,
    action,
    target: initialTarget,
    work,
    last,
  }: Attempt<T>): Promise<T | typeof again> {
    const { mark } = revision;
    /** Rows that the decision rests on: the credential's, the keys'. */
    const rests = [caller.principal.id];
    let target = initialTarget;
    let items: readonly AuditItem[] | undefined;
    let changed = false;
    let replay: Replay | undefined;

    const entry = (result: Pick<AuditEntry, 'outcome' | 'code'>): AuditEntry => ({
      id: newId(),
      time: clock.now(),
      namespaceId: caller.principal.namespaceId,
      requestId: caller.requestId,
      principal: { kind: caller.principal.kind, id: caller.principal.id, name: caller.principal.name },
      ...(caller.source === undefined ? undefined : { source: caller.source }),
      action,
      ...(target && { target }),
      ...result,
      ...(items && { items: [...items] }),
      ...(replay && { replayed: true }),
    });

    const operation: Operation = {
      caller,
      target: (found) => {
        target = found;
        if (found.id !== undefined) rests.push(found.id);
      },
      items: (list) => {
        items = list;
        for (const item of list) if (item.target?.id !== undefined) rests.push(item.target.id);
      },
      async change(apply, options = {}) {
        const record = entry({ outcome: 'allowed' });
        const claim = caller.idempotency && idempotency.claim(caller, action, options.secret === true);
        const subjects = [...(target?.id === undefined ? [] : [target.id]), ...(options.touches ?? [])];
        let number: number | undefined;
        let committed: number | undefined;
        try {
          const value = await audit.change(record, async (tx) => {
            await claim?.reserve(tx);
            const answer = await apply(tx);
            await claim?.complete(tx, answer);
            const { namespaceId } = caller.principal;
            if (subjects.length > 0)
              number = await store.changes.record(tx, { namespaceId, subjects, at: clock.now() });
            return answer;
          });
          changed = true;
          committed = number;
          return value;
        } finally {
          // Also when the outcome is unknown: what the store says is what counts.
          revision.touch(subjects, committed);
        }
      },
    };

    try {
      await confirm(caller.principal);
      authorize(caller, action);
      replay = caller.idempotency && (await idempotency.find(caller, action));
      const result = replay ? replay.answer() : await work(operation);
      if (!changed) {
        await audit.append(entry({ outcome: 'allowed' }), () => revision.untouchedSince(mark, rests));
      }
      return result as T;
    } catch (error) {
      if (isMoved(error) && !last) return again;
      const failure = isMoved(error) ? restless(error) : error;
      if (!changed && !isServiceError(failure, 'audit/unavailable'))
        await audit.append(entry(outcomeOf(failure)));
      throw failure;
    }
  }

  /** An equal request won the race for the Idempotency-Key a moment ago: its answer is there now. */
  const isMoved = (error: unknown) => error instanceof DecisionMoved || idempotency.isRace(error);

  return {
    async run(caller, action, target, work) {
      audit.assertWritable();
      for (let count = 1; ; count += 1) {
        const result = await attempt({ caller, action, target, work, last: count === attemptsLimit });
        if (result !== again) return result;
      }
    },
  };
}

function restless(cause: unknown): ServiceError {
  return new ServiceError('service/overloaded', 'What this rests on is being changed all the time.', {
    cause,
    retryAfterSeconds: 1,
  });
}
