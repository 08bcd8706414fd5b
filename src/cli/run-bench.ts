import { randomBytes } from 'node:crypto';
import { createHistogram } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { isStatheraError } from '../client/errors.ts';
import { interruptible } from './interrupt.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export interface BenchOptions {
  readonly key: string;
  readonly operation: 'encrypt' | 'decrypt';
  readonly bytes: number;
  readonly connections: number;
  readonly seconds: number;
}

/** A service that refuses is not asked in a tight loop. */
const afterFailureMs = 50;

export async function runBench(
  { key, operation, bytes, connections, seconds }: BenchOptions,
  command: Command,
  { client, exit }: Surroundings,
): Promise<void> {
  const { json } = command.optsWithGlobals<{ json?: true }>();
  if (json !== true) console.error(`stathera: every operation is a use of ${key} and an audit record`);
  // Each operation once: what is measured is the service, not what retries make of it.
  const service = await client({ retries: 0, connections });
  const plaintext = randomBytes(bytes);
  // Microseconds, to a minute, with three digits.
  const latencies = createHistogram({ lowest: 1, highest: 60_000_000, figures: 3 });
  const errors: Record<string, number> = {};
  let spent = 0;
  await interruptible(async (signal) => {
    // What does not work once is said, not counted.
    const { ciphertext } = await service.encrypt({ key, plaintext }, { signal });
    const act = {
      encrypt: () => service.encrypt({ key, plaintext }, { signal }),
      decrypt: () => service.decryptWithKey({ key, ciphertext }, { signal }),
    }[operation];
    await act();
    const started = performance.now();
    const until = started + seconds * 1000;
    const lane = async (): Promise<void> => {
      for (let sent = performance.now(); sent < until; sent = performance.now()) {
        try {
          await act();
          latencies.record(Math.max(1, Math.round((performance.now() - sent) * 1000)));
        } catch (error) {
          if (!isStatheraError(error)) throw error;
          errors[error.code] = (errors[error.code] ?? 0) + 1;
          await delay(afterFailureMs, undefined, { signal });
        }
      }
    };
    await Promise.all(Array.from({ length: connections }, lane));
    spent = (performance.now() - started) / 1000;
  });
  const ms = (percentile: number) => latencies.percentile(percentile) / 1000;
  const measured = {
    ...{ operation, bytes, connections, seconds: Number(spent.toFixed(3)) },
    operations: latencies.count,
    rate: Number((latencies.count / spent).toFixed(1)),
    ...{
      p50Ms: ms(50),
      p90Ms: ms(90),
      p99Ms: ms(99),
      maxMs: latencies.count === 0 ? 0 : latencies.max / 1000,
    },
    errors,
  };
  const failures = Object.entries(errors);
  print(command, measured, () =>
    table([
      ['operation', `${operation} of ${bytes} B, ${connections} connections, ${spent.toFixed(1)} s`],
      ['rate', `${measured.rate}/s`],
      ['latency', `p50 ${ms(50)} ms, p90 ${ms(90)} ms, p99 ${ms(99)} ms, longest ${measured.maxMs} ms`],
      ['errors', failures.length === 0 ? 'none' : failures.map((each) => each.join(': ')).join(', ')],
    ]),
  );
  exit(failures.length === 0 ? 0 : 1);
}
