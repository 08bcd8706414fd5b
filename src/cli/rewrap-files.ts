import type { Command } from 'commander';
import { isStatheraError } from '../client/errors.ts';
import type { RewrapInput } from '../client/local.ts';
import { rewrapFile } from '../client/node/files.ts';
import { createLocalEncryption } from '../client/node/local.ts';
import { explain } from './explain.ts';
import { interruptible } from './interrupt.ts';
import type { Pairs } from './options.ts';
import { print } from './output.ts';
import { createProgress } from './progress.ts';
import type { Surroundings } from './surroundings.ts';

export interface RewrapOptions {
  readonly context?: Pairs;
  readonly toKey?: string;
  readonly toContext?: Pairs;
  readonly clearContext?: true;
  readonly quiet?: true;
  readonly json?: true;
}

interface Failure {
  readonly file: string;
  readonly error: string;
}

interface Summary {
  readonly rewrapped: string[];
  readonly failed: Failure[];
  /** After a failure that the others would have had too. */
  readonly notTried: string[];
}

/** Rewraps one after the other, goes on after a failure and says how it went. */
export async function rewrapFiles(
  files: readonly string[],
  command: Command,
  surroundings: Surroundings,
): Promise<void> {
  const summary = await rewrapAll(files, command.optsWithGlobals<RewrapOptions>(), surroundings);
  print(command, summary, () => [lineOf(summary)]);
  surroundings.exit(summary.failed.length === 0 ? 0 : 1);
}

async function rewrapAll(
  files: readonly string[],
  { context = {}, toKey, toContext, clearContext, quiet, json }: RewrapOptions,
  { client, environment }: Surroundings,
): Promise<Summary> {
  const local = createLocalEncryption({ client: await client() });
  const moved = clearContext ? {} : toContext;
  const to: RewrapInput = { ...(toKey !== undefined && { toKey }), ...(moved && { toContext: moved }) };
  const summary: Summary = { rewrapped: [], failed: [], notTried: [] };
  const progress = createProgress('rewrap', {
    terminal: quiet === true || json === true ? undefined : process.stderr,
    unit: 'files',
  });
  await interruptible(async (signal) => {
    for (const [index, path] of files.entries()) {
      progress.update(index, files.length);
      try {
        await rewrapFile(local, { path, context, signal, ...to });
        summary.rewrapped.push(path);
      } catch (error) {
        signal.throwIfAborted();
        const text = explain(error, environment);
        progress.clear();
        if (json !== true) console.error(`stathera: ${path}: ${text}`);
        summary.failed.push({ file: path, error: text });
        if (!isStatheraError(error) || !concernsAll(error.code)) continue;
        summary.notTried.push(...files.slice(index + 1));
        return;
      }
    }
  }).finally(() => progress.clear());
  return summary;
}

/** No service, or none for this token: the next file would fail alike, after as long a wait. */
function concernsAll(code: string): boolean {
  return code.startsWith('client/') || code === 'access/unauthenticated' || code === 'access/denied';
}

function lineOf({ rewrapped, failed, notTried }: Summary): string {
  return [
    `${rewrapped.length} rewrapped`,
    ...(failed.length > 0 ? [`${failed.length} failed`] : []),
    ...(notTried.length > 0 ? [`${notTried.length} not tried`] : []),
  ].join(', ');
}
