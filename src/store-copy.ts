import { existsSync, readdirSync, renameSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Adapters } from './adapters.ts';
import { localPlace } from './audit/local-place.ts';
import type { Slot } from './audit/place.ts';
import type { Config } from './config.ts';
import { fsyncPath } from './core/durable-file.ts';
import { ServiceError } from './core/errors.ts';
import { openSystemKeys } from './keys/system-keys.ts';
import { copyRows, rowsToCopy, type TableRows } from './store/copy.ts';
import { migrate } from './store/migrations.ts';

/** What there is to copy. Only looks, and needs no token. @throws store/unavailable with what to do */
export async function lookAtCopy(adapters: Adapters, file: string): Promise<TableRows[]> {
  requireFile(file);
  const source = await adapters.openStore({ kind: 'sqlite', file }, { readonly: true });
  try {
    return await rowsToCopy(source);
  } finally {
    await source.close();
  }
}

/**
 * Moves the data of a stopped service from SQLite to the PostgreSQL of its settings. The SQLite file is renamed to
 * `….copied` then: two services that go on from one state would count uses, and revoke tokens, each for itself. The
 * log's files are brought in by the next start in this data directory.
 * @returns the new name of the SQLite file
 * @throws store/unavailable, hsm/unavailable with what to do; nothing was copied
 */
export async function copyStore(
  config: Config,
  adapters: Adapters,
  file: string,
  onCopied: (copied: TableRows) => void,
): Promise<string> {
  requireFile(file);
  const release = await holdLog(join(config.dataDir, 'audit'));
  try {
    const hsm = await adapters.openHsm(config.hsm, () => undefined);
    try {
      const source = await adapters.openStore({ kind: 'sqlite', file });
      try {
        const target = await adapters.openStore(config.database);
        try {
          await migrate(target.db, target.dialect, adapters.clock.now());
          const { rows } = await openSystemKeys({ hsm, store: source });
          await copyRows(source, target, rows.verify, onCopied);
        } finally {
          await target.close();
        }
      } finally {
        // With the last connection SQLite brings all of it into the one file.
        await source.close();
      }
    } finally {
      await hsm.close();
    }
    const copied = `${file}.copied`;
    // Somebody who looks at it keeps SQLite's log beside it.
    for (const part of ['', '-wal', '-shm'])
      if (existsSync(`${file}${part}`)) renameSync(`${file}${part}`, `${copied}${part}`);
    fsyncPath(dirname(resolve(file)));
    return copied;
  } finally {
    await release();
  }
}

function requireFile(file: string): void {
  if (existsSync(file)) return;
  throw new ServiceError('store/unavailable', `Nothing was copied: there is no database at ${file}.`);
}

/** No service may go on beside it, nor start: each has a part of the log. */
async function holdLog(directory: string): Promise<() => Promise<void>> {
  const place = localPlace(directory);
  const slots: Slot[] = [];
  const release = async () => {
    for (const slot of slots) await slot.release();
  };
  for (const name of existsSync(directory) ? readdirSync(directory) : []) {
    const [, writer] = /^(.+)\.lock$/.exec(name) ?? [];
    if (writer === undefined) continue;
    const slot = await place.tryTake(writer);
    if (slot) slots.push(slot);
    else {
      await release();
      throw new ServiceError('store/unavailable', 'Nothing was copied: a service runs on it. Stop it first.');
    }
  }
  return release;
}
