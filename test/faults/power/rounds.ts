import { rename } from 'node:fs/promises';
import { expect } from 'vitest';
import { freshDataDir, runMain } from '../../support/data.ts';
import { startTestService, type TestService } from '../../support/service.ts';
import {
  createKey,
  createToken,
  destroy,
  encrypt,
  expectEveryChangeRecorded,
  expectServed,
  expectWhole,
  type Ledger,
  newLedger,
  random,
  retire,
  rotate,
} from './ledger.ts';
import { createMachine, type Machine, type Point } from './machine.ts';
import type { JournalRecord } from './shim.ts';

/** A service that is killed again and again, and what it acknowledged. */
export interface Victim {
  readonly machine: Machine;
  readonly ledger: Ledger;
  service: TestService | undefined;
  /** A key that was made while nothing was armed. */
  key: string;
}

interface Operation {
  /** Brings the service to where the operation can be done. */
  readonly prepare: (victim: Victim) => Promise<unknown>;
  /** @throws when the service dies */
  readonly run: (victim: Victim) => Promise<unknown>;
}

const running = async (victim: Victim): Promise<TestService> =>
  (victim.service ??= await startTestService({
    dataDir: victim.machine.dataDir,
    env: { ...victim.machine.shim.env, STATHERA_DESTRUCTION_MIN_SECONDS: '1' },
  }));

async function stop(victim: Victim): Promise<void> {
  const service = await running(victim);
  expect(await service.stop()).toBe(0);
  victim.service = undefined;
}

async function freshKey(victim: Victim): Promise<void> {
  victim.key = await createKey(await running(victim), victim.ledger);
}

/** What a kill falls into. Each has its durable steps, which are counted once and then died at. */
export const operations: Readonly<Record<string, Operation>> = {
  'key.create': {
    prepare: running,
    run: async (victim) => createKey(await running(victim), victim.ledger),
  },
  'key.rotate': {
    prepare: freshKey,
    run: async (victim) => rotate(await running(victim), victim.ledger, victim.key),
  },
  'token.create': {
    prepare: running,
    run: async (victim) => createToken(await running(victim), victim.ledger),
  },
  // A version that nothing was encrypted with: scheduled, and destroyed a second later.
  'version.destroy': {
    prepare: async (victim) => {
      await freshKey(victim);
      await rotate(await running(victim), victim.ledger, victim.key);
    },
    run: async (victim) => destroy(await running(victim), victim.ledger, victim.key),
  },
  'version.retire': {
    prepare: async (victim) => {
      await freshKey(victim);
      await encrypt(await running(victim), victim.ledger, victim.key);
      await rotate(await running(victim), victim.ledger, victim.key);
    },
    run: async (victim) => retire(await running(victim), victim.ledger, victim.key),
  },
  // The first use of a version reserves a block.
  'usage.block': {
    prepare: freshKey,
    run: async (victim) => encrypt(await running(victim), victim.ledger, victim.key),
  },
  'audit.record': {
    prepare: async (victim) => random(await running(victim), victim.ledger),
    run: async (victim) => random(await running(victim), victim.ledger),
  },
  // An orderly stop seals the segment: the next record begins another.
  'audit.segment': {
    prepare: async (victim) => {
      await stop(victim);
      await running(victim);
    },
    run: async (victim) => random(await running(victim), victim.ledger),
  },
  'service.start': {
    prepare: async (victim) => {
      await random(await running(victim), victim.ledger);
      await victim.service?.kill();
      victim.service = undefined;
    },
    run: running,
  },
  'service.stop': {
    prepare: async (victim) => encrypt(await running(victim), victim.ledger, victim.key),
    run: stop,
  },
};

export async function createVictim(library: string, lie?: string): Promise<Victim> {
  const fill = async (dataDir: string) => {
    await rename(await freshDataDir(), dataDir);
    // It has moved: SoftHSM's configuration names its place.
    await runMain(['init'], { STATHERA_DATA_DIR: dataDir });
  };
  const machine = await createMachine(library, { fill, ...(lie !== undefined && { lie }) });
  const victim = { machine, ledger: newLedger(), service: undefined, key: '' };
  await freshKey(victim);
  return victim;
}

/** The durable steps of an operation, by name. */
export async function stepsOf(victim: Victim, name: string): Promise<JournalRecord[]> {
  const { prepare, run } = operationOf(name);
  await prepare(victim);
  victim.machine.steps();
  await run(victim);
  return victim.machine.steps();
}

/**
 * One crash: the operation is done until the process dies at the point, or right after the answer when it has
 * fewer steps. What is left must be whole, and be served by the next start.
 * @returns the name of the point
 */
export async function crash(victim: Victim, name: string, point: Point): Promise<string> {
  const { machine, ledger } = victim;
  const { prepare, run } = operationOf(name);
  await prepare(victim);
  machine.shim.arm(point.step, point.moment);
  const answered = await run(victim).then(
    () => true,
    (error: unknown) => error,
  );
  const service = victim.service;
  victim.service = undefined;
  await service?.kill();
  const diedAt = machine.end(point);
  const at = `${name}: ${diedAt ?? 'after the answer'}`;
  try {
    if (diedAt === undefined && answered !== true) throw answered;
    await expectWhole(machine.dataDir, ledger);
    await expectServed(await running(victim), ledger);
  } catch (error) {
    throw new Error(`${at} (${JSON.stringify(point)})`, { cause: error });
  }
  return at;
}

/** What must hold in the end, and the command's own word on the log. */
export async function finish(victim: Victim): Promise<void> {
  const { machine, ledger } = victim;
  const service = await running(victim);
  await expectEveryChangeRecorded(service);
  await encrypt(service, ledger, victim.key);
  await rotate(service, ledger, victim.key);
  await stop(victim);
  await expectWhole(machine.dataDir, ledger);
  const env = { STATHERA_DATA_DIR: machine.dataDir };
  const { stdout } = await runMain(['audit', 'verify', '--with-token', '--json'], env);
  expect(JSON.parse(stdout)).toMatchObject({ ok: true });
}

function operationOf(name: string): Operation {
  const operation = operations[name];
  if (!operation) throw new Error(`no operation ${name}`);
  return operation;
}
