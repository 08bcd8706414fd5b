import type { AuditLog } from '../audit/audit.ts';
import type { AuditEntry, AuditItem, AuditTarget } from '../audit/entry.ts';
import type { Clock } from '../core/clock.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { Caller } from './caller.ts';
import { createIdempotency, type Replay } from './idempotency.ts';
import { type Action, actions } from './scopes.ts';

/** One operation under way: what the work may say about itself, and how it changes anything. */
export interface Operation {
  /** Names in the record what was found. */
  target(target: AuditTarget): void;
  /** Adds the items of a batch. */
  items(items: readonly AuditItem[]): void;
  /**
   * Changes the database: `apply`, the audit record and the idempotent answer commit together. At most once
   * an operation. The answer must be plain JSON unless it holds a `secret`, which is never stored.
   */
  change<T>(apply: (tx: StoreTransaction) => Promise<T>, options?: { secret?: boolean }): Promise<T>;
}

export interface Operations {
  /**
   * Authorizes, works, records, answers: in this order, for every operation, so that none can be forgotten.
   * The answer is given only after its record is durable; a refusal is recorded too.
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
    /^(access|key|envelope|exchange|import|mac|signature|request)\//.test(error.code) &&
    error.code !== 'key/conflict';
  return { outcome: refused ? 'refused' : 'failed', code: error.code };
}

export function createOperations({
  audit,
  store,
  clock,
}: {
  audit: AuditLog;
  store: Store;
  clock: Clock;
}): Operations {
  const idempotency = createIdempotency({ store, clock });

  const run: Operations['run'] = async (caller, action, initialTarget, work) => {
    audit.assertWritable();
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
      target: (found) => {
        target = found;
      },
      items: (list) => {
        items = list;
      },
      async change(apply, options = {}) {
        const record = entry({ outcome: 'allowed' });
        const claim = caller.idempotency && idempotency.claim(caller, action, options.secret === true);
        const value = await audit.change(record, async (tx) => {
          await claim?.reserve(tx);
          const answer = await apply(tx);
          await claim?.complete(tx, answer);
          return answer;
        });
        changed = true;
        return value;
      },
    };

    try {
      authorize(caller, action);
      replay = caller.idempotency && (await idempotency.find(caller, action));
      const result = replay ? replay.answer() : await work(operation);
      if (!changed) await audit.append(entry({ outcome: 'allowed' }));
      return result as Awaited<ReturnType<typeof work>>;
    } catch (error) {
      // An equal request won the race for the Idempotency-Key a moment ago: its answer is there now.
      if (idempotency.isRace(error)) return await run(caller, action, initialTarget, work);
      if (!changed && !isServiceError(error, 'audit/unavailable'))
        await audit.append(entry(outcomeOf(error)));
      throw error;
    }
  };

  return { run };
}
