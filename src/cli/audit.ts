import { type Command, InvalidArgumentError, Option } from 'commander';
import type { AuditHead } from '../audit/audit.ts';
import type { VerifyOptions } from './audit-log.ts';
import type { TailOptions } from './audit-tail.ts';
import { wholeNumber, withExamples } from './options.ts';
import type { Surroundings } from './surroundings.ts';

export function addAuditCommands(program: Command, surroundings: Surroundings): void {
  const audit = program
    .command('audit')
    .description('read the audit log, and check it on the machine it is on');
  addTail(audit, surroundings);

  const verify = audit
    .command('verify')
    .description('check every record, chain and segment; needs no PIN and may run beside the service')
    .option(
      '--expect <head>',
      'a head from an earlier run, WRITER:SEQUENCE:HASH; may be repeated',
      collectHead,
      [],
    )
    .option('--with-token', 'log in to the HSM and check its MACs too (uses the PIN file)')
    .option('--exported <directory>', 'check the files that `audit export` wrote there, in place of the log')
    .action(async (options: VerifyOptions, command: Command) =>
      (await import('./audit-log.ts')).verifyLog(options, command, surroundings),
    );
  withExamples(
    verify,
    'stathera audit verify',
    'stathera audit verify --with-token --expect "$(cat last-head)"',
  );

  const exportTo = audit
    .command('export')
    .argument('<directory>', 'made if it is not there')
    .description('copy the sealed segments to files, from PostgreSQL too; may run beside the service')
    .action(async (to: string, options: object, command: Command) =>
      (await import('./audit-log.ts')).exportLog(to, options, command, surroundings),
    );
  withExamples(
    exportTo,
    'stathera audit export /backup/audit',
    'stathera audit verify --exported /backup/audit --with-token',
  );

  const acceptLoss = audit
    .command('accept-loss')
    .description('let the service start although audit segments are gone; verify reports them for ever')
    .option('--yes', 'do it; without, only the missing segments are shown')
    .action(async (options: { yes?: true }, command: Command) =>
      (await import('./audit-log.ts')).acceptLogLoss(options, command, surroundings),
    );
  withExamples(acceptLoss, 'stathera audit accept-loss', 'stathera audit accept-loss --yes');
}

function addTail(audit: Command, surroundings: Surroundings): void {
  const tail = audit
    .command('tail')
    .summary('show the newest records of your namespace, and what comes')
    .description(
      'show the newest records of your namespace, oldest first; with --json one a line. Each reading of the log is ' +
        'itself a record, of which those of this command are not shown.',
    )
    .option('-n, --lines <count>', 'how many', wholeNumber(0, 10_000), 10)
    .option('-f, --follow', 'go on with what comes, also after the service was away')
    .option('--interval <seconds>', 'with --follow, how often to ask', wholeNumber(1, 3600), 2)
    .option('--action <action>', 'only this, such as envelope.decrypt')
    .addOption(new Option('--outcome <outcome>', 'only these').choices(['allowed', 'refused', 'failed']))
    .option('--target <target>', 'only what was done to this key, token or namespace: its name or id')
    .option('--service', "the service's own records (needs service:admin)")
    .action(async (options: TailOptions, command: Command) =>
      (await import('./audit-tail.ts')).tailLog(options, command, surroundings),
    );
  withExamples(
    tail,
    'stathera audit tail -n 50 --outcome refused',
    'stathera audit tail --follow --action envelope.decrypt --json | jq -r .principal.name',
  );
}

function collectHead(text: string, heads: AuditHead[]): AuditHead[] {
  const match = /^([a-z0-9][a-z0-9-]*):(\d{1,15}):([0-9a-f]{64})$/.exec(text);
  const [, writer, sequence, head] = match ?? [];
  if (writer === undefined || head === undefined)
    throw new InvalidArgumentError('must be WRITER:SEQUENCE:HASH');
  return [...heads, { writer, sequence: Number(sequence), head }];
}
