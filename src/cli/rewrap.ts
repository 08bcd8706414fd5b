import type { Command } from 'commander';
import type { RewrapInput } from '../client/index.ts';
import { explain } from './explain.ts';
import { interruptible } from './interrupt.ts';
import { collectPair, type Pairs, withExamples } from './options.ts';
import { print } from './output.ts';
import { createProgress } from './progress.ts';
import type { Surroundings } from './surroundings.ts';

interface RewrapOptions {
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

export function addRewrapCommand(program: Command, surroundings: Surroundings): void {
  const rewrap = program
    .command('rewrap')
    .description(
      'move encrypted files to the current version of their key; only their headers change, in place',
    )
    .argument('<file...>', 'files that `stathera encrypt` made, of any size')
    .option('-c, --context <name=value>', 'the context they have now; may be repeated', collectPair)
    .option('--to-key <key>', 'move them to this key')
    .option(
      '--to-context <name=value>',
      'give them this context; may be repeated (default: as now)',
      collectPair,
    )
    .option('--clear-context', 'give them no context')
    .option('-q, --quiet', 'show no progress')
    .action(async (files: string[], options: RewrapOptions, command: Command) => {
      if (options.clearContext && options.toContext)
        command.error('error: --to-context and --clear-context exclude each other');
      const summary = await rewrapAll(files, command.optsWithGlobals<RewrapOptions>(), surroundings);
      print(command, summary, () => [lineOf(summary)]);
      surroundings.exit(summary.failed.length === 0 ? 0 : 1);
    });
  withExamples(
    rewrap,
    'stathera keys rotate payments && stathera rewrap *.stathera',
    'stathera rewrap --context report=2026 --to-key archive report.pdf.stathera',
  );
}

async function rewrapAll(
  files: readonly string[],
  { context = {}, toKey, toContext, clearContext, quiet, json }: RewrapOptions,
  { client, environment }: Surroundings,
): Promise<Summary> {
  const { createLocalEncryption, rewrapFile, isStatheraError } = await import('../client/node/index.ts');
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
