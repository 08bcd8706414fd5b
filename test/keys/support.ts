import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readConfig } from '../../src/config.ts';
import type { Hsm } from '../../src/hsm/hsm.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { openSystemKeys, type SystemKeys } from '../../src/keys/system-keys.ts';
import type { RowAuthenticator } from '../../src/store/rows.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import { emptyDirectory } from '../support/data.ts';

export interface Inside {
  readonly hsm: Hsm;
  readonly systemKeys: SystemKeys;
  readonly store: Store;
  readonly rows: RowAuthenticator;
  /** Loads and proves the system keys anew. */
  reopen(): Promise<unknown>;
}

/** Opens database and token of a stopped service in this process: to write rows as the service would. */
export async function inside<T>(dataDir: string, work: (parts: Inside) => Promise<T>): Promise<T> {
  const { STATHERA_PKCS11_MODULE } = process.env;
  const config = readConfig({ STATHERA_DATA_DIR: dataDir, STATHERA_PKCS11_MODULE });
  const hsm = await openPkcs11Hsm(config.hsm, { log: () => undefined });
  try {
    const store = openSqliteStore({ file: join(dataDir, 'stathera.db') });
    try {
      const systemKeys = await openSystemKeys({ hsm, store });
      const { rows } = systemKeys;
      return await work({ hsm, systemKeys, store, rows, reopen: () => openSystemKeys({ hsm, store }) });
    } finally {
      await store.close();
    }
  } finally {
    await hsm.close();
  }
}

/** A copy of a stopped service's data directory that stands on its own. */
export async function copyOf(dataDir: string): Promise<string> {
  const directory = await emptyDirectory();
  await cp(dataDir, directory, { recursive: true });
  const conf = join(directory, 'hsm', 'softhsm2.conf');
  const text = await readFile(conf, 'utf8');
  await writeFile(conf, text.replaceAll(dataDir, directory));
  return directory;
}
