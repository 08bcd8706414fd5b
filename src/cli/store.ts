import { join } from 'node:path';
import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { copyStore, lookAtCopy } from '../store-copy.ts';
import { Failed } from './failed.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export async function copy(
  { from, yes }: { from?: string; yes?: true },
  command: Command,
  { environment, adapters: load }: Surroundings,
): Promise<void> {
  const config = readConfig(environment);
  if (config.database.kind !== 'postgres')
    throw new Failed('set STATHERA_DATABASE_URL to the PostgreSQL database that the service is to have');
  const file = from ?? join(config.dataDir, 'stathera.db');
  const adapters = await load();
  const json = command.optsWithGlobals<{ json?: boolean }>().json === true;
  if (!yes) {
    const tables = await lookAtCopy(adapters, file);
    print(command, { tables, copied: false }, () => [
      ...table([['TABLE', 'ROWS'], ...tables.map(({ table: name, rows }) => [name, String(rows)])]),
      'nothing was done: stop the service, back up, and run it again with --yes',
    ]);
    return;
  }
  const tables: { table: string; rows: number }[] = [];
  const renamed = await copyStore(config, adapters, file, (copied) => {
    tables.push(copied);
    if (!json) process.stderr.write(`${copied.table}: ${copied.rows}\n`);
  });
  print(command, { tables, copied: true, file: renamed }, () => [
    'copied, and every row that has a MAC checked',
    `the SQLite database is ${renamed} now: keep it as a backup until the service has started`,
    'next, with the same data directory: stathera serve, then stathera audit verify --with-token',
  ]);
}
