// Fills a data directory with many keys or versions, by a process of its own.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../../test/support/data.ts';
import type { Bench } from './bench.ts';

export interface SeedPlan {
  /** They are named `key-0`, `key-1` … */
  readonly keys: number;
  /** Of each key. */
  readonly versions: number;
  /** Each key has been due for rotation since then, every 90 days. Milliseconds. */
  readonly dueAt?: number;
}

export interface Seeded {
  /** The key's name. */
  readonly key: string;
  /** Of 32 bytes, without a context, base64. */
  readonly ciphertext: string;
}

/** In the data directory; the service takes no notice of it. */
export const seededFile = 'bench-seeded.ndjson';

/**
 * @param directory initialized, and no service at work on it
 * @returns a ciphertext of each version, oldest first, of each key in turn
 */
export async function seed(bench: Bench, directory: string, plan: SeedPlan): Promise<Seeded[]> {
  const child = fork(fileURLToPath(new URL('seed-process.ts', import.meta.url)), [JSON.stringify(plan)], {
    env: childEnvironment({ STATHERA_DATA_DIR: directory }),
  });
  bench.atEnd(() => child.kill('SIGKILL'));
  child.on('message', (text: string) => bench.progress(text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`seeding ended with ${code}`);
  return readFileSync(join(directory, seededFile), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Seeded);
}
