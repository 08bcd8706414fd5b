import { spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Adapters } from '../../adapters.ts';
import type { Config } from '../../config.ts';
import { mlKemSource } from '../../crypto/kem/ml-kem.ts';
import type { Store } from '../../store/store.ts';
import { keepMemory } from '../memory.ts';
import { connectionsWithin } from '../open-files.ts';
import { type Finding, failed, ok, unchecked, warning } from './finding.ts';
import { dateOf, spanOf } from './text.ts';

const oldestNode = 24;

/** What the service would run in if it were started like this command. */
export function checkProcess({ maxConnections }: Config): Finding[] {
  const major = Number(process.versions.node.split('.')[0]);
  const node =
    major >= oldestNode
      ? ok('Node', process.version)
      : failed('Node', process.version, `install Node ${oldestNode} or later`);
  const postQuantum =
    mlKemSource === 'node:crypto'
      ? ok('ML-KEM', 'by this Node')
      : warning('ML-KEM', `by ${mlKemSource}, in JavaScript`, 'run a Node with OpenSSL 3.5: it is faster');
  const next = 'set the limit of core files to 0: `ulimit -c 0`, LimitCORE=0';
  const cores = keepMemory()
    ? ok('core dumps', 'hold none of the service’s memory')
    : warning('core dumps', 'would hold the service’s memory', next);
  const connections = connectionsWithin(maxConnections);
  const files =
    connections === maxConnections
      ? ok('open files', `enough for ${maxConnections} connections`)
      : warning(
          'open files',
          `enough for ${connections} connections of ${maxConnections}, if the service is started like this`,
          'raise `ulimit -n` or LimitNOFILE, or lower STATHERA_MAX_CONNECTIONS',
        );
  return [node, postQuantum, cores, files];
}

/** What the clock can be off by before it is said. */
const toleranceMs = 5_000;
const askedWithinMs = 2_000;

/** Tokens expire and records are told by the system's clock: it must not be behind what it said itself before. */
export async function checkClock(
  config: Config,
  adapters: Pick<Adapters, 'clock' | 'openStore'>,
): Promise<Finding> {
  const check = 'clock';
  const newest = await newestTime(config, adapters);
  if (newest === undefined) {
    return unchecked(check, 'there is nothing to hold it against', 'run `stathera init` first');
  }
  const ahead = newest - adapters.clock.now();
  const now = dateOf(adapters.clock.now());
  if (ahead > toleranceMs) {
    return failed(
      check,
      `it is ${now} here, and what the service wrote last is ${spanOf(ahead)} later`,
      'set the clock right before serving: expired tokens would be valid again',
    );
  }
  const synchronized = await isSynchronized();
  if (synchronized === false) {
    return warning(check, `${now}, not synchronized`, 'turn synchronization on: `timedatectl set-ntp true`');
  }
  const how = synchronized ? 'synchronized' : 'whether it is synchronized is not known here';
  return ok(check, `${now}, after all that was written; ${how}`);
}

/** The latest time in the database and of the log's files. */
async function newestTime(
  { dataDir, database }: Config,
  adapters: Pick<Adapters, 'openStore'>,
): Promise<number | undefined> {
  const times: number[] = [];
  const log = join(dataDir, 'audit');
  try {
    for (const name of readdirSync(log)) times.push(statSync(join(log, name)).mtimeMs);
  } catch {
    // no log yet, or another user's: the check of permissions tells
  }
  if (database.kind === 'sqlite' && !existsSync(database.file)) {
    return times.length > 0 ? Math.max(...times) : undefined;
  }
  let store: Store | undefined;
  try {
    store = await adapters.openStore(database, { readonly: true });
    for (const table of ['tokens', 'key_versions', 'namespaces'] as const) {
      const row = await store.db
        .selectFrom(table)
        .select((each) => each.fn.max('created_at').as('newest'))
        .executeTakeFirst();
      if (typeof row?.newest === 'number') times.push(row.newest);
    }
  } catch {
    // the check of the database tells
  } finally {
    await store?.close();
  }
  return times.length > 0 ? Math.max(...times) : undefined;
}

/** As systemd tells; undefined where there is none. */
function isSynchronized(): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const asked = spawn('timedatectl', ['show', '--property=NTPSynchronized', '--value'], {
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: askedWithinMs,
    });
    let text = '';
    asked.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    asked.on('error', () => resolve(undefined));
    asked.on('close', () => resolve({ yes: true, no: false }[text.trim()]));
  });
}
