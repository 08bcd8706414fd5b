import { join } from 'node:path';
import type { Command } from 'commander';
import type { AuditHead } from '../audit/audit.ts';
import { exportSegments } from '../audit/export.ts';
import { acceptLoss } from '../audit/loss.ts';
import type { VerifyReport } from '../audit/report.ts';
import { verifyAudit } from '../audit/verify.ts';
import { withAuditMac } from '../audit-mac.ts';
import { type Config, readConfig } from '../config.ts';
import { openExisting } from './existing.ts';
import { print } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export interface VerifyOptions {
  readonly expect: AuditHead[];
  readonly withToken?: true;
  readonly exported?: string;
}

export async function verifyLog(
  { expect, withToken, exported }: VerifyOptions,
  command: Command,
  { environment, adapters: load, exit }: Surroundings,
): Promise<void> {
  const config = readConfig(environment);
  const adapters = await load();
  const store = await openExisting(adapters, config, true);
  try {
    const verify = (mac?: (data: Uint8Array) => Promise<Uint8Array>) =>
      verifyAudit({
        ...{ directory: auditDirectory(config), store, expect },
        ...(mac && { mac }),
        ...(exported !== undefined && { exported }),
      });
    const report = withToken ? await withAuditMac({ config, adapters, store }, verify) : await verify();
    print(command, report, () => lines(report));
    exit(report.ok ? 0 : 1);
  } finally {
    await store.close();
  }
}

export async function acceptLogLoss(
  { yes }: { yes?: true },
  command: Command,
  { environment, adapters: load }: Surroundings,
): Promise<void> {
  const config = readConfig(environment);
  const adapters = await load();
  const store = await openExisting(adapters, config, yes !== true);
  try {
    if (yes) {
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
}

export async function exportLog(
  to: string,
  _options: object,
  command: Command,
  { environment, adapters: load }: Surroundings,
): Promise<void> {
  const config = readConfig(environment);
  const adapters = await load();
  const store = await openExisting(adapters, config, true);
  try {
    const done = await exportSegments({ directory: auditDirectory(config), store, to });
    print(command, done, () => [
      `${done.written.length} segments written, ${done.kept} were there`,
      ...done.unsealed.map((file) => `not yet: ${file} is being written`),
    ]);
  } finally {
    await store.close();
  }
}

function auditDirectory(config: Config): string {
  return join(config.dataDir, 'audit');
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
