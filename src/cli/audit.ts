import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { Adapters } from '../adapters.ts';
import type { AuditHead } from '../audit/audit.ts';
import { acceptLoss } from '../audit/loss.ts';
import type { VerifyReport } from '../audit/report.ts';
import { verifyAudit } from '../audit/verify.ts';
import { withAuditMac } from '../audit-mac.ts';
import { type Config, readConfig } from '../config.ts';
import { ServiceError } from '../core/errors.ts';
import type { Store } from '../store/store.ts';
import { print } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export function addAuditCommands(program: Command, { environment, adapters, exit }: Surroundings): void {
  const audit = program.command('audit').description('check the audit log on this machine');

  audit
    .command('verify')
    .description('check every record, chain and segment; needs no PIN and may run beside the service')
    .option(
      '--expect <head>',
      'a head from an earlier run, WRITER:SEQUENCE:HASH; may be repeated',
      collectHead,
      [],
    )
    .option('--with-token', 'log in to the HSM and check its MACs too (uses the PIN file)')
    .action(async (options: { expect: AuditHead[]; withToken?: true }, command: Command) => {
      const config = readConfig(environment);
      const store = openExisting(adapters, { file: config.databaseFile, readonly: true });
      try {
        const verify = (mac?: (data: Uint8Array) => Promise<Uint8Array>) =>
          verifyAudit({
            directory: auditDirectory(config),
            store,
            expect: options.expect,
            ...(mac && { mac }),
          });
        const report = options.withToken
          ? await withAuditMac({ config, adapters, store }, verify)
          : await verify();
        print(command, report, () => lines(report));
        exit(report.ok ? 0 : 1);
      } finally {
        await store.close();
      }
    });

  audit
    .command('accept-loss')
    .description('let the service start although audit segments are gone; verify reports them for ever')
    .option('--yes', 'do it; without, only the missing segments are shown')
    .action(async (options: { yes?: true }, command: Command) => {
      const config = readConfig(environment);
      const store = openExisting(adapters, { file: config.databaseFile, readonly: options.yes !== true });
      try {
        if (options.yes) {
          const accepted = await acceptLoss(store, auditDirectory(config), adapters.clock);
          print(command, { accepted }, () => [`accepted the loss of ${accepted.length} segments`]);
          return;
        }
        const { losses } = await verifyAudit({ directory: auditDirectory(config), store });
        print(command, { losses }, () => [
          ...losses.map(({ file }) => `missing: ${file}`),
          losses.length === 0 ? 'no segment is missing' : 'run again with --yes to accept the loss',
        ]);
      } finally {
        await store.close();
      }
    });
}

function openExisting({ openStore }: Adapters, settings: { file: string; readonly: boolean }): Store {
  if (existsSync(settings.file)) return openStore(settings);
  throw new ServiceError(
    'store/unavailable',
    `there is no database at ${settings.file}: set STATHERA_DATA_DIR to the service's data directory`,
  );
}

function auditDirectory(config: Config): string {
  return join(config.dataDir, 'audit');
}

function collectHead(text: string, heads: AuditHead[]): AuditHead[] {
  const match = /^([a-z0-9][a-z0-9-]*):(\d{1,15}):([0-9a-f]{64})$/.exec(text);
  const [, writer, sequence, head] = match ?? [];
  if (writer === undefined || head === undefined)
    throw new InvalidArgumentError('must be WRITER:SEQUENCE:HASH');
  return [...heads, { writer, sequence: Number(sequence), head }];
}

function lines(report: VerifyReport): string[] {
  return [
    `${report.records} records in ${report.segments} segments, ${report.groups} group commits`,
    ...report.problems.map(
      ({ file, line, what }) => `PROBLEM ${file}${line === undefined ? '' : ` line ${line}`}: ${what}`,
    ),
    ...(report.problemCount > report.problems.length ? [`… ${report.problemCount} problems in all`] : []),
    ...report.losses.map(({ file }) => `LOST ${file}`),
    ...report.unchecked.map((what) => `not checked: ${what}`),
    ...(report.outboxPending > 0 ? [`${report.outboxPending} records of changes wait in the database`] : []),
    ...report.heads.map(({ writer, sequence, head }) => `head ${writer}:${sequence}:${head}`),
    report.ok ? 'ok' : 'NOT OK',
  ];
}
