import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { startTestService, type TestService } from '../../support/service.ts';
import { expectWhole, newLedger } from './ledger.ts';
import { createMachine, type Machine, type Point, runCommand } from './machine.ts';
import { endings, usePreloaded } from './preloaded.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const kills = nightly ? 300 : 8;
const lanes = 2;

const library = usePreloaded();

const machines: Machine[] = [];
const services: TestService[] = [];
afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.kill()));
  await Promise.all(machines.splice(0).map((machine) => machine.remove()));
});

async function newMachine(lie?: string): Promise<Machine> {
  const machine = await createMachine(library, lie === undefined ? {} : { lie });
  machines.push(machine);
  return machine;
}

const initialize = ({ dataDir, shim }: Machine) =>
  runCommand(['init'], { STATHERA_DATA_DIR: dataDir, ...shim.env });

/** A set-up that was acknowledged is there after the power failed: one token, no remains, and it works. */
async function expectSetUp(machine: Machine): Promise<void> {
  machine.end({ ending: 'power, nothing unsynced kept', seed: 0 });
  const { dataDir } = machine;
  expect(existsSync(join(dataDir, 'initialized'))).toBe(true);
  expect(readdirSync(join(dataDir, 'hsm')).filter((name) => name.startsWith('tokens'))).toEqual(['tokens']);
  expect(readdirSync(join(dataDir, 'hsm', 'tokens'))).toHaveLength(1);
  const service = await startTestService({ dataDir });
  services.push(service);
  const made = await service.call('POST', '/v1/keys', { name: 'payments' });
  expect([made.status, made.body['currentVersion']]).toEqual([201, 1]);
  await service.kill();
  await expectWhole(dataDir, newLedger());
}

/** @returns the name of the point */
async function killedSetUp(point: Point): Promise<string | undefined> {
  const machine = await newMachine();
  machine.shim.arm(point.step, point.moment);
  const first = await initialize(machine);
  const diedAt = machine.end(point);
  try {
    if (diedAt === undefined) expect([first.code, first.output]).toEqual([0, first.output]);
    else expect((await initialize(machine)).output).toContain('the administrator');
    await expectSetUp(machine);
  } catch (error) {
    throw new Error(`init: ${diedAt} (${JSON.stringify(point)})`, { cause: error });
  }
  await machines.splice(machines.indexOf(machine), 1)[0]?.remove();
  return diedAt;
}

/** The steps to die at. SoftHSM cuts and writes the same files fifty times over: one in ten of those will do. */
async function stepsOfSetUp(): Promise<number[]> {
  const machine = await newMachine();
  expect((await initialize(machine)).code).toBe(0);
  const steps = machine.steps().filter(({ label, step }) => !label.startsWith('truncate') || step % 10 === 0);
  await expectSetUp(machine);
  return steps.map(({ step }) => step);
}

/** Guarantees that a set-up that dies before or after any durable step, alone or with the power, is finished by the next, and is on disk once it says so. */
test('finishes a set-up that died at any durable step', {
  timeout: nightly ? 3_600_000 : 240_000,
}, async () => {
  const steps = await stepsOfSetUp();
  const points = fc.sample(
    fc.record<Point>({
      step: fc.constantFrom(...steps),
      moment: fc.constantFrom('before', 'after'),
      ending: fc.constantFrom(...endings),
      seed: fc.nat(),
    }),
    kills,
  );
  const died = new Set<string>();
  let next = 0;
  const lane = async () => {
    for (let point = points[next++]; point; point = points[next++]) {
      const at = await killedSetUp(point);
      // What SoftHSM calls its files is of no interest.
      if (at !== undefined) died.add(at.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '…'));
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  expect(died.size).toBeGreaterThan(kills / 4);
  process.stdout.write(`${kills} killed set-ups of ${steps.length} steps, at ${died.size} points\n`);
  if (nightly) for (const at of [...died].toSorted()) process.stdout.write(`  ${at}\n`);
});

/** Guarantees that the test above can fail: where the syncs of one kind of thing are not made, the set-up is lost or does not serve. */
test.each([
  ['the token', '/tokens'],
  ['the names of hsm/', '/hsm$'],
  ['the data directory’s name', '/disk$'],
  ['the first token', 'bootstrap-token'],
  ['the database', 'stathera.db'],
])('notices that %s is not synced', async (_, lie) => {
  const machine = await newMachine(lie);
  expect((await initialize(machine)).code).toBe(0);
  expect(existsSync(join(machine.dataDir, 'initialized'))).toBe(true);
  await expect(expectSetUp(machine)).rejects.toThrow();
});
