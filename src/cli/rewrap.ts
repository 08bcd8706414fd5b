import type { Command } from 'commander';
import { collectPair, withExamples } from './options.ts';
import type { RewrapOptions } from './rewrap-files.ts';
import type { Surroundings } from './surroundings.ts';

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
      await (await import('./rewrap-files.ts')).rewrapFiles(files, command, surroundings);
    });
  withExamples(
    rewrap,
    'stathera keys rotate payments && stathera rewrap *.stathera',
    'stathera rewrap --context report=2026 --to-key archive report.pdf.stathera',
  );
}
