import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import type { Point } from './machine.ts';
import { endings, usePreloaded } from './preloaded.ts';
import { crash, createVictim, finish, operations, stepsOf, type Victim } from './rounds.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const kills = nightly ? 700 : 24;
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

/** Nothing is armed: the power fails right after the answer, and keeps what was synced alone. */
const answered: Point = { step: 0, moment: 'after', ending: 'power, nothing unsynced kept', seed: 0 };

/**
 * What was answered first, for each operation; then each point with each ending, in an order of chance, the
 * operations by turns.
 */
async function plan(counted: Victim): Promise<Kill[]> {
  const names = Object.keys(operations);
  const lists: Kill[][] = [];
  for (const name of names) {
    const { length: steps } = await stepsOf(counted, name);
    expect([name, steps > 0]).toEqual([name, true]);
    lists.push(shuffled(pointsOf(steps).map((point) => ({ name, point }))));
  }
  const longest = Math.max(...lists.map(({ length }) => length));
  const turns = Array.from({ length: longest }, (_, turn) =>
    lists.flatMap((list) => list.slice(turn, turn + 1)),
  );
  const all = [...names.map((name) => ({ name, point: answered })), ...turns.flat()];
  return Array.from({ length: kills }, (_, index) => {
    const { name, point } = all[index % all.length] as Kill;
    return { name, point: { ...point, seed: index } };
  });
}

function pointsOf(steps: number): Point[] {
  return Array.from({ length: steps }, (_, index) => index + 1).flatMap((step) =>
    (['before', 'after'] as const).flatMap((moment) =>
      endings.map((ending) => ({ step, moment, ending, seed: step })),
    ),
  );
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

/** Guarantees that a death while SoftHSM rewrites the token at a login, which it does in place, does not cost the token. */
test('keeps the token through a death in a login', async () => {
  const own = await victim();
  const steps = await stepsOf(own, 'service.start');
  const cut = steps.findIndex(({ label }) => /^truncate .*token\.object$/.test(label));
  expect(cut).toBeGreaterThanOrEqual(0);
  const at = await crash(own, 'service.start', { step: cut + 1, moment: 'after', ending: 'kill', seed: 0 });
  expect(at).toContain('token.object');
});

/** Guarantees that the test above can fail: where the syncs of one kind of thing are not made, what was acknowledged is found missing. */
test.each([
  ['the database’s commits', 'stathera.db-wal', 'key.create'],
  ['the audit records', '.ndjson', 'audit.record'],
  ['the names of audit segments', '/audit$', 'audit.record'],
  ['the audit directory’s name', '/data$', 'audit.record'],
])('notices that %s are not synced', async (_, lie, name) => {
  const own = await victim(lie);
  await expect(crash(own, name, answered)).rejects.toThrow('after the answer');
});
