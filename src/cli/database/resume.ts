import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { Environment } from '../../config.ts';
import { mkdirDurably, writeDurably } from '../../core/durable-file.ts';
import { Failed } from '../failed.ts';
import type { Id } from './column.ts';

/** Where a run is, for the next one to go on if it is ended. Written beside, for its owner alone: ids may tell of people. */
export interface Resume {
  readonly after: Id | undefined;
  /** Rewrapped so far, by the id of the version they had. */
  readonly rewrapped: ReadonlyMap<string, number>;
}

const schema = z.strictObject({
  format: z.literal(1),
  /** What it is a run of. */
  run: z.string(),
  current: z.int(),
  after: z.array(z.string()).optional(),
  rewrapped: z.record(z.string(), z.int()),
});

/** Everything that makes two runs the same one. */
export function runName(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

const writtenEveryMs = 1_000;

export function openResume(
  given: string | undefined,
  { run, current }: { readonly run: string; readonly current: number },
  environment: Environment,
) {
  const state = environment['XDG_STATE_HOME'] || join(homedir(), '.local', 'state');
  const file = given ?? join(state, 'stathera', `rewrap-${run.slice(0, 16)}.json`);
  let written = Number.NEGATIVE_INFINITY;
  return {
    file,
    /** @throws Failed for a file that is of another run, or none of ours */
    read(): Resume {
      let text: string;
      try {
        text = readFileSync(file, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT')
          return { after: undefined, rewrapped: new Map() };
        throw error;
      }
      const found = schema.safeParse(parsed(text)).data;
      if (found?.run !== run)
        throw new Failed(`${file} is of another run: give another --state-file, or remove it to begin anew`);
      // What an earlier run left where it was is of an old version by now.
      const after = found.current === current ? found.after : undefined;
      return { after, rewrapped: new Map(Object.entries(found.rewrapped)) };
    },
    /** Now and then: what is after it is looked at again, and found to be done. */
    write({ after, rewrapped }: Resume): void {
      if (performance.now() - written < writtenEveryMs) return;
      if (written === Number.NEGATIVE_INFINITY) mkdirDurably(dirname(file));
      written = performance.now();
      writeDurably(
        file,
        JSON.stringify({ format: 1, run, current, after, rewrapped: Object.fromEntries(rewrapped) }),
      );
    },
    remove: (): void => rmSync(file, { force: true }),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
