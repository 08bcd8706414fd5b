import { type Operation, outcomeOf } from '../access/operations.ts';
import type { Action } from '../access/scopes.ts';
import type { AuditItem, AuditTarget } from '../audit/entry.ts';
import type { Note } from './work.ts';

/** HSM operations under way at once: enough to fill its batches, few enough to leave room for other callers. */
const concurrentOperations = 128;

/** What is done with each of several items. */
interface Doing<Item, Value> {
  /** HSM operations that an item has under way at once. */
  weightOf(item: Item): number;
  actionOf(item: Item): Action;
  perform(item: Item, note: Note): Promise<Value>;
}

/** What became of an item. */
export type ItemResult<Value> = { readonly value: Value } | { readonly error: unknown };

/**
 * Starts the items in their order, several at a time: each succeeds or fails alone. The operation's record lists them;
 * results and record are in their order.
 */
export async function runItems<Item, Value>(
  items: readonly Item[],
  { weightOf, actionOf, perform }: Doing<Item, Value>,
  operation: Operation,
): Promise<ItemResult<Value>[]> {
  const results = new Array<ItemResult<Value>>(items.length);
  const records = new Array<AuditItem>(items.length);

  async function run(item: Item, index: number): Promise<void> {
    let target: AuditTarget | undefined;
    const record = (outcome: ReturnType<typeof outcomeOf>): AuditItem => ({
      action: actionOf(item),
      ...(target && { target }),
      ...outcome,
    });
    try {
      const value = await perform(item, (found) => {
        target = found;
      });
      results[index] = { value };
      records[index] = record({ outcome: 'allowed' });
    } catch (error) {
      results[index] = { error };
      records[index] = record(outcomeOf(error));
    }
  }

  await runWeighted(items, weightOf, run);
  operation.items(records);
  return results;
}

/** Runs `run`, which must not reject, for every item while the items under way stay within their weight. */
function runWeighted<Item>(
  items: readonly Item[],
  weightOf: (item: Item) => number,
  run: (item: Item, index: number) => Promise<void>,
): Promise<void> {
  return new Promise((resolve) => {
    let next = 0;
    let underWay = 0;
    function proceed(): void {
      for (let item = items[next]; item !== undefined; item = items[next]) {
        const weight = weightOf(item);
        if (underWay > 0 && underWay + weight > concurrentOperations) return;
        underWay += weight;
        void run(item, next).then(() => {
          underWay -= weight;
          proceed();
        });
        next += 1;
      }
      if (underWay === 0) resolve();
    }
    proceed();
  });
}
