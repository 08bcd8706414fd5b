import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import type { Point } from './machine.ts';
import { endings, usePreloaded } from './preloaded.ts';
import { crash, createVictim, finish, operations, stepsOf, type Victim } from './rounds.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const kills = nightly ? 800 : 48;
const lanes = 2;

const library = usePreloaded();

const victims: Victim[] = [];
afterEach(async () => {
  for (const { service, machine } of victims.splice(0)) {
    await service?.kill();
    await machine.remove();
  }
});

async function victim(lie?: string): Promise<Victim> {
  const made = await createVictim(library, lie);
  victims.push(made);
  return made;
}

interface Kill {
  readonly name: string;
  readonly point: Point;
}

/** Each point of each operation with each ending, in an order of chance, the operations by turns. */
async function plan(counted: Victim): Promise<Kill[]> {
  const lists: Kill[][] = [];
  for (const name of Object.keys(operations)) {
    const { length: steps } = await stepsOf(counted, name);
    expect([name, steps > 0]).toEqual([name, true]);
    const all = Array.from({ length: steps + 1 }, (_, index) => index + 1).flatMap((step) =>
      (['before', 'after'] as const)
        .filter((moment) => step <= steps || moment === 'before')
        .flatMap((moment) =>
          endings.map((ending) => ({ name, point: { step, moment, ending, seed: step } })),
        ),
    );
    lists.push(shuffled(all));
  }
  const longest = Math.max(...lists.map(({ length }) => length));
  const turns = Array.from({ length: longest }, (_, turn) =>
    lists.flatMap((list) => list.slice(turn, turn + 1)),
  ).flat();
  return Array.from({ length: kills }, (_, index) => {
    const { name, point } = turns[index % turns.length] as Kill;
    return { name, point: { ...point, seed: index } };
  });
}

function shuffled<Item>(items: readonly Item[]): Item[] {
  const [order = []] = fc.sample(
    fc.array(fc.nat(), { minLength: items.length, maxLength: items.length, size: 'max' }),
    1,
  );
  return items
    .map((item, index) => [order[index] ?? 0, item] as const)
    .toSorted(([one], [other]) => one - other)
    .map(([, item]) => item);
}

/** Guarantees that a service that dies before or after any durable step, alone or with the power, has lost nothing it acknowledged, has a record of all it did, and serves again. */
test('loses nothing to a death at any durable step', { timeout: nightly ? 3_600_000 : 240_000 }, async () => {
  const all: Victim[] = [];
  while (all.length < lanes) all.push(await victim());
  const planned = await plan(all[0] as Victim);
  const died = new Map<string, number>();
  let next = 0;
  const lane = async (own: Victim) => {
    for (let index = next++; index < planned.length; index = next++) {
      const { name, point } = planned[index] as Kill;
      const at = await crash(own, name, point);
      died.set(at, (died.get(at) ?? 0) + 1);
    }
    await finish(own);
  };
  await Promise.all(all.map(lane));
  expect(died.size).toBeGreaterThan(Object.keys(operations).length);
  process.stdout.write(
    `${planned.length} kills at ${died.size} points of ${Object.keys(operations).length} operations\n`,
  );
  if (nightly)
    for (const [at, times] of [...died].toSorted(([one], [other]) => one.localeCompare(other)))
      process.stdout.write(`  ${times} × ${at}\n`);
});

/** Guarantees that the test above can fail: where the syncs of one kind of thing are not made, what was acknowledged is found missing. */
test.each([
  ['the database’s commits', 'stathera.db-wal', 'key.create'],
  ['the audit records', '.ndjson', 'audit.record'],
  ['the names of audit segments', '/audit$', 'audit.record'],
  ['the audit directory’s name', '/data$', 'audit.record'],
])('notices that %s are not synced', async (_, lie, name) => {
  const own = await victim(lie);
  const point: Point = { step: 0, moment: 'before', ending: 'power, nothing unsynced kept', seed: 0 };
  await expect(crash(own, name, point)).rejects.toThrow('after the answer');
});
