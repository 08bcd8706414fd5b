import { type Command, InvalidArgumentError } from 'commander';
import type { DestroyOptions, RetentionOptions } from './lifecycle-show.ts';
import { wholeNumber, withExamples } from './options.ts';
import type { Surroundings } from './surroundings.ts';

const keyArgument = ['<key>', 'its name or id'] as const;
const versionsArgument = ['[versions...]', 'their numbers'] as const;

/** The end of versions: part of `stathera keys`. */
export function addLifecycleCommands(keys: Command, surroundings: Surroundings): void {
  const destroy = keys
    .command('destroy')
    .summary('schedule the destruction of versions of a key')
    .description(
      'schedule the destruction of versions of a key: they are refused from now on, and can be restored until their ' +
        'time has come',
    )
    .argument(...keyArgument)
    .argument(versionsArgument[0], versionsArgument[1], collectVersion, [])
    .option('--all', 'every version of a key, which must be disabled')
    .option('--window <time>', 'how long they can be restored, such as 7d or 12h (default: 30d)', duration)
    .option('--reason <text>', 'destroy them although something may depend on them, for this reason')
    .option('--dry-run', 'change nothing, and show what would become unreadable')
    .action(async (key: string, versions: number[], options: DestroyOptions, command: Command) =>
      (await import('./lifecycle-show.ts')).destroy(key, versions, options, command, surroundings),
    );
  withExamples(
    destroy,
    'stathera keys destroy payments 1 2 --dry-run',
    'stathera keys destroy payments 1 2 --window 7d',
  );

  const restore = keys
    .command('restore')
    .description('take back destructions that are scheduled')
    .argument(...keyArgument)
    .argument(
      versionsArgument[0],
      `${versionsArgument[1]} (default: all that are scheduled)`,
      collectVersion,
      [],
    )
    .action(async (key: string, versions: number[], _options, command: Command) =>
      (await import('./lifecycle-show.ts')).restore(key, versions, command, surroundings),
    );
  withExamples(restore, 'stathera keys restore payments 1');

  const list = keys
    .command('destructions')
    .description(
      'list what was destroyed of a key, is scheduled or was taken back; --json has the signed records',
    )
    .argument(...keyArgument)
    .action(async (key: string, _options, command: Command) =>
      (await import('./lifecycle-show.ts')).destructions(key, command, surroundings),
    );
  withExamples(
    list,
    'stathera keys destructions payments',
    "stathera keys destructions payments --json | jq '.items[-1].record' > record.json",
  );

  const verify = keys
    .command('verify-destruction')
    .description('check the record of a destruction by the audit key in the HSM; needs no running service')
    .argument('<file>', 'a record, as JSON')
    .action(async (file: string, _options, command: Command) =>
      (await import('./destruction-record.ts')).verifyDestruction(file, command, surroundings),
    );
  withExamples(verify, 'stathera keys verify-destruction record.json');
  addRetention(keys, surroundings);
}

function addRetention(keys: Command, surroundings: Surroundings): void {
  const retention = keys
    .command('retention')
    .summary('show or set how long superseded versions of a key are kept')
    .description(
      'show how long superseded versions of a key are kept, and what is due; with options, set it. A version is past ' +
        'its time when every option that is given says so.',
    )
    .argument(...keyArgument)
    .option('--keep-latest <count>', 'so many of the newest stay', wholeNumber(1, 1_000_000))
    .option('--retire-after <time>', 'since the next version took its place, such as 90d', duration)
    .option('--finally <end>', 'what becomes of them: retire, disable or destroy (default: retire)')
    .option('--window <time>', 'of their destruction (default: 30d)', duration)
    .option('--reason <text>', 'go on although something may depend on them, for this reason')
    .option('--dry-run', 'change nothing, and show what would be due')
    .option('--remove', 'keep them until somebody decides')
    .action(async (key: string, options: RetentionOptions, command: Command) =>
      (await import('./lifecycle-show.ts')).retention(key, options, command, surroundings),
    );
  withExamples(
    retention,
    'stathera keys retention payments',
    'stathera keys retention payments --keep-latest 3 --retire-after 90d --finally destroy --dry-run',
  );
}

function collectVersion(text: string, versions: number[]): number[] {
  return [...versions, wholeNumber(1, 999_999_999)(text)];
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** @returns seconds. @throws InvalidArgumentError */
function duration(text: string): number {
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (count === undefined || unit === undefined)
    throw new InvalidArgumentError('must be a number and s, m, h or d, such as 7d');
  return Number(count) * (unitSeconds[unit] ?? 1);
}
