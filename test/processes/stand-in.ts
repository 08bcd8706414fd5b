import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, vi } from 'vitest';

import type { TlsSettings } from '../../src/http/tls/tls-server.ts';
import type { SupervisorLimits } from '../../src/processes/supervisor.ts';
import { childEnvironment } from '../support/data.ts';

export interface StandInOptions {
  readonly processes: number;
  readonly limits?: Partial<SupervisorLimits>;
  readonly tls?: TlsSettings;
  readonly maxConnections?: number;
  /** What processes are to do when they start: `die`, `fail` or nothing. */
  readonly orderFile: string;
}

export type StandIn = Awaited<ReturnType<typeof startStandIn>>;

/** Starts a supervisor with stand-ins, in a process group of their own. */
export async function startStandIn(
  given: Omit<StandInOptions, 'orderFile'>,
  { order = '' }: { order?: '' | 'die' | 'fail' } = {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'stathera-processes-'));
  const options: StandInOptions = { ...given, orderFile: join(folder, 'order') };
  const tell = (word: '' | 'die' | 'fail') => writeFileSync(options.orderFile, word);
  tell(order);
  const child = spawn(process.execPath, [fileURLToPath(new URL('./child.ts', import.meta.url))], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: childEnvironment({ STATHERA_TEST_STAND_IN: JSON.stringify(options) }),
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output.stderr += chunk));
  const ended = once(child, 'close').then(([code, signal]): Ended => ({ code, signal }));
  const pid = child.pid ?? 0;
  await vi.waitFor(() => expect(output.stdout).toMatch(/\n/), { timeout: 60_000, interval: 20 });
  const url = /^listening on (\S+)$/m.exec(output.stdout)?.[1] ?? '';
  /** The log so far, as its lines' members. */
  const log = () =>
    output.stderr
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
  const events = (name: string) => log().filter(({ msg }) => msg === name);
  return {
    ...{ url, pid, ended, output, log, events, tell },
    signal: (signal: NodeJS.Signals) => process.kill(pid, signal),
    /** The processes that listen, once there are so many. */
    async serving(count: number): Promise<number[]> {
      const listening = () => {
        const gone = new Set(events('process.ended').map(({ childPid }) => childPid));
        const pids = events('process.listening').map(({ childPid }) => Number(childPid));
        return pids.filter((one) => !gone.has(one) && isRunning(one));
      };
      await vi.waitFor(() => expect(listening()).toHaveLength(count), { timeout: 60_000, interval: 50 });
      return listening();
    },
    async dispose(): Promise<void> {
      try {
        process.kill(-pid, 'SIGKILL');
      } catch {
        // All have ended.
      }
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** False for one that ended and was not waited for yet, too. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** One request over a connection of its own. @returns the process that answered */
export async function askOnce(url: string, path = '/v1/work'): Promise<number> {
  const response = await fetch(`${url}${path}`, { headers: { connection: 'close' } });
  expect(response.status).toBe(200);
  return ((await response.json()) as { pid: number }).pid;
}

/** The measurements by name and labels. */
export async function measurements(url: string): Promise<ReadonlyMap<string, number>> {
  const response = await fetch(`${url}/metrics`, { headers: { connection: 'close' } });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const samples = lines.map((line) => /^(\S+) (\S+)$/.exec(line.replace(/(?<=\{.*) (?=.*\})/g, '_')));
  return new Map(samples.map((match) => [match?.[1] ?? '', Number(match?.[2])]));
}
