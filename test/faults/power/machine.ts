import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { childEnvironment, mainFile } from '../../support/data.ts';
import { type Chance, createDisk } from './disk.ts';
import { createShim, type JournalRecord, type Moment, type Shim } from './shim.ts';

/** How a machine stops: the process alone, or the power with all that was not synced, or with some of it. */
export type Ending = 'kill' | 'power, nothing unsynced kept' | 'power, some unsynced kept';

export interface Point {
  /** Counted from the moment it was armed. */
  readonly step: number;
  readonly moment: Moment;
  readonly ending: Ending;
  /** Of the chance by which unsynced things are kept. */
  readonly seed: number;
}

/** A folder with a disk below it, on which the power can fail. */
export interface Machine {
  readonly dataDir: string;
  readonly shim: Shim;
  /** What happened since the last call or ending. */
  steps(): JournalRecord[];
  /** After its processes are dead. @returns the name of the point they died at, undefined when they were not killed there */
  end(point: Pick<Point, 'ending' | 'seed'>): string | undefined;
  remove(): Promise<void>;
}

/** @param fill puts the data directory there; what it makes is durable */
export async function createMachine(
  library: string,
  { fill, lie }: { fill?: (dataDir: string) => Promise<void>; lie?: string } = {},
): Promise<Machine> {
  const place = await mkdtemp(join(tmpdir(), 'stathera-power-'));
  const folder = join(place, 'disk');
  await mkdir(folder);
  const dataDir = join(folder, 'data');
  await fill?.(dataDir);
  const shim = createShim({ library, folder, scratch: place, ...(lie !== undefined && { lie }) });
  const disk = createDisk(folder);
  let killedAt: string | undefined;
  const steps = () => {
    const records = shim.journal();
    disk.replay(records);
    const killed = records.find(({ kind }) => kind === 'killed');
    if (killed) killedAt = `${killed.offset === 1 ? 'before' : 'after'} ${killed.label}`;
    return records;
  };
  return {
    dataDir,
    shim,
    steps,
    end({ ending, seed }) {
      killedAt = undefined;
      steps();
      shim.arm(0, 'before');
      // What a killed process has not synced is there for the next one, and still not durable.
      if (ending !== 'kill') disk.fail(ending === 'power, some unsynced kept' ? seeded(seed) : () => false);
      return killedAt;
    },
    async remove() {
      shim.close();
      await rm(place, { recursive: true, force: true });
    },
  };
}

function seeded(seed: number): Chance {
  const [bias = 50] = fc.sample(fc.constantFrom(10, 50, 90), { seed, numRuns: 1 });
  const values = fc.sample(fc.nat(99), { seed, numRuns: 4_096 });
  let next = 0;
  return () => (values[next++ % values.length] ?? 0) < bias;
}

/** Runs the `stathera` command in a process group of its own, which may be killed. */
export async function runCommand(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, [mainFile, ...args], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: childEnvironment(env),
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk;
    });
  await once(child, 'close');
  return { code: child.exitCode, output };
}
