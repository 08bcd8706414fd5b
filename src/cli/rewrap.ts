import type { Command } from 'commander';
import { isPipe } from './names.ts';
import { collectPair, withExamples } from './options.ts';
import type { RewrapOptions } from './rewrap-files.ts';
import type { Surroundings } from './surroundings.ts';

export function addRewrapCommand(program: Command, surroundings: Surroundings): void {
  const rewrap = program
    .command('rewrap')
    .description(
      'move encrypted files to the current version of their key; only their headers change, in place',
    )
    .argument('[file...]', 'files that `stathera encrypt` made, of any size')
    .option('-c, --context <name=value>', 'the context they have now; may be repeated', collectPair)
    .option('--to-key <key>', 'move them to this key')
    .option(
      '--to-context <name=value>',
      'give them this context; may be repeated (default: as now)',
      collectPair,
    )
    .option('--clear-context', 'give them no context')
    .option('-q, --quiet', 'show no progress')
    .option(
      '--lines',
      'ciphertexts as lines of JSON from a file or stdin, {"ciphertext": …, "context": …, "id": …}; what becomes of ' +
        'each is a line on stdout',
    )
    .option('-k, --key <key>', 'with --lines: name or id of the key whose ciphertexts they are')
    .action(async (files: string[], options: RewrapOptions & LinesOptions, command: Command) => {
      if (options.lines) return await rewrapLines(files, options, command, surroundings);
      if (files.length === 0) command.error("error: missing required argument 'file'");
      if (options.clearContext && options.toContext)
        command.error('error: --to-context and --clear-context exclude each other');
      await (await import('./rewrap-files.ts')).rewrapFiles(files, command, surroundings);
    });
  withExamples(
    rewrap,
    'stathera keys rotate payments && stathera rewrap *.stathera',
    'stathera rewrap --context report=2026 --to-key archive report.pdf.stathera',
    'stathera rewrap --lines --key payments < old.ndjson > new.ndjson',
  );
}

interface LinesOptions {
  readonly lines?: true;
  readonly key?: string;
}

async function rewrapLines(
  [file, ...more]: string[],
  { key, context, toKey, toContext, clearContext }: RewrapOptions & LinesOptions,
  command: Command,
  surroundings: Surroundings,
): Promise<void> {
  if (key === undefined) return command.error('error: --lines needs --key: whose ciphertexts they are');
  if (more.length > 0) command.error('error: --lines reads one file, or stdin');
  if (context ?? toKey ?? toContext ?? clearContext)
    command.error('error: with --lines each line has its context, which is kept, as the key is');
  await (await import('./rewrap-lines.ts')).rewrapLines(isPipe(file) ? undefined : file, key, surroundings);
}
