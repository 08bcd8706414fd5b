import { existsSync } from 'node:fs';
import type { Adapters } from '../adapters.ts';
import type { Config } from '../config.ts';
import { ServiceError } from '../core/errors.ts';
import type { Store } from '../store/store.ts';

/** Opens the service's database, and makes none. @throws store/unavailable with what to do */
export async function openExisting(
  { openStore }: Adapters,
  { database }: Config,
  readonly: boolean,
): Promise<Store> {
  if (database.kind === 'sqlite' && !existsSync(database.file)) {
    throw new ServiceError(
      'store/unavailable',
      `there is no database at ${database.file}: set STATHERA_DATA_DIR to the service's data directory`,
    );
  }
  return await openStore(database, { readonly });
}
