import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { Client } from '../client/client.ts';
import { parseDatabaseUrl } from '../core/database-url.ts';
import type { Column, ColumnName } from './database/column.ts';
import { scan } from './database/passes.ts';
import { openPostgresColumn, passwordFrom } from './database/postgres-column.ts';
import { type DryRun, type Findings, findings, shown } from './database/report.ts';
import { openResume, runName } from './database/resume.ts';
import { type Outcome, type Run, rewrapColumn } from './database/run.ts';
import { openSqliteColumn } from './database/sqlite-column.ts';
import { readVersions } from './database/target.ts';
import { Failed } from './failed.ts';
import { interruptible } from './interrupt.ts';
import type { Pairs } from './options.ts';
import { print } from './output.ts';
import { createProgress } from './progress.ts';
import type { Surroundings } from './surroundings.ts';

export interface DatabaseOptions {
  readonly databaseUrl?: string;
  readonly databasePasswordFile?: string;
  readonly databaseCaFile?: string;
  readonly table?: string;
  readonly column?: string;
  readonly jsonPointer?: string;
  readonly idColumn?: readonly string[];
  readonly contextColumn?: Pairs;
  readonly dryRun?: true;
  readonly rate?: number;
  readonly page: number;
  readonly dataKeyLease: number;
  readonly staleness: number;
  readonly stateFile?: string;
}

type Options = Required<Pick<DatabaseOptions, 'databaseUrl' | 'table' | 'column' | 'idColumn'>> &
  DatabaseOptions & {
    readonly key: string;
    readonly context?: Pairs;
    readonly quiet?: true;
    readonly json?: true;
  };

/** Rewraps a column, reports its coverage and says it; exits with 1 unless nothing is left. */
export async function rewrapDatabase(command: Command, surroundings: Surroundings): Promise<void> {
  const options = command.optsWithGlobals<Options>();
  const name = nameOf(options);
  const client = await surroundings.client({
    // A service that is restarted, or a database that changes its master, is waited for.
    retries: { retries: 30, maxBackoffMs: 10_000 },
    timeoutMs: 300_000,
  });
  const column = await openColumn(options, name);
  try {
    const told = await interruptible((signal) =>
      work(options, { name, client, column, signal }, surroundings),
    );
    print(command, told, () => shown(told));
    surroundings.exit(told.complete || told.dryRun ? 0 : 1);
  } finally {
    await column.close();
  }
}

interface Parts {
  readonly name: ColumnName;
  readonly client: Client;
  readonly column: Column;
  readonly signal: AbortSignal;
}

async function work(
  options: Options,
  { name, client, column, signal }: Parts,
  { environment }: Surroundings,
): Promise<Findings> {
  const versions = await readVersions(client, options.key);
  if (versions.current === 0) throw new Failed('the key has no version: nothing can be encrypted with it');
  const { context = {}, contextColumn = {}, rate, page: pageRows } = options;
  const target = {
    ...{ keyId: versions.keyId, current: versions.current, ordinalOf: versions.ordinalOf, context },
    contextNames: Object.keys(contextColumn),
  };
  const terminal = options.quiet === true || options.json === true ? undefined : process.stderr;
  const progress: Run['progress'] = (label) => createProgress(label, { terminal, unit: 'rows' });
  const place = {
    ...{ system: column.system, database: column.database, table: name.table, column: name.column },
    ...(options.jsonPointer !== undefined && { pointer: options.jsonPointer }),
  };
  const base = { place, key: options.key, versions };
  if (options.dryRun) {
    const tally = await scan({ column, target, pageRows, rate, progress: progress('scan'), signal });
    return findings({ ...base, dryRun: true, last: tally } satisfies DryRun);
  }
  const run = runName([place, versions.keyId, name.idColumns]);
  const outcome = await rewrapColumn({
    ...{ client, column, versions, target, pageRows, rate, progress, signal },
    resume: openResume(options.stateFile, { run, current: versions.current }, environment),
    settleMs: options.staleness + options.dataKeyLease * 1000,
    note: (text) => {
      if (terminal) console.error(`stathera: ${text}`);
    },
  });
  return await reported(client, { ...base, ...outcome });
}

/** Leaves the evidence with the service. */
async function reported(
  client: Client,
  outcome: Pick<DryRun, 'place' | 'key' | 'versions'> & Outcome,
): Promise<Findings> {
  const found = findings({ ...outcome, dryRun: false });
  const { place, currentVersion, agreed, rows, nulls, foreign, unreadable } = found;
  const report = await client.reportCoverage({
    ...{ key: outcome.versions.keyId, place, currentVersion, agreed, rows, nulls, foreign, unreadable },
    scanSeconds: (performance.now() - outcome.scanStarted) / 1000,
    versions: found.versions.map((each) => ({ ...each })),
  });
  return { ...found, report: report.id };
}

async function openColumn(options: Options, name: ColumnName): Promise<Column> {
  const url = parseDatabaseUrl(options.databaseUrl);
  if (url === undefined)
    throw new Failed(
      '--database-url must be sqlite:PATH or postgres://USER@HOST[:PORT]/DATABASE, with ?sslmode=verify-full or disable',
    );
  if ('file' in url) return openSqliteColumn(url.file, name);
  const { password, tls, local, ...server } = url;
  if (password !== undefined)
    throw new Failed(
      '--database-url holds a password, which every user of this machine can read: put it into the file that PGPASSFILE ' +
        'or --database-password-file names, and change it',
    );
  if (!tls && !local)
    throw new Failed('--database-url: rows would cross the network in clear: leave sslmode=disable out');
  const { databasePasswordFile: passwordFile, databaseCaFile: caFile } = options;
  return await openPostgresColumn(
    {
      ...server,
      ...(passwordFile !== undefined && { password: passwordFrom(passwordFile) }),
      ...(tls && { tls: caFile === undefined ? {} : { ca: () => readFileSync(caFile, 'utf8') } }),
    },
    name,
  );
}

function nameOf({
  table,
  column,
  idColumn,
  contextColumn = {},
  jsonPointer,
  context = {},
}: Options): ColumnName {
  const twice = Object.keys(contextColumn).find((each) => Object.hasOwn(context, each));
  if (twice !== undefined) throw new Failed(`--context and --context-column both give ${twice}`);
  return {
    ...{ table, column, idColumns: idColumn, contextColumns: Object.values(contextColumn) },
    path: jsonPointer === undefined ? undefined : stepsOf(jsonPointer),
  };
}

/** RFC 6901 */
function stepsOf(pointer: string): string[] {
  if (!pointer.startsWith('/')) throw new Failed('--json-pointer must begin with /');
  return pointer
    .slice(1)
    .split('/')
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}
