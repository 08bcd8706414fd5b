import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { storeContract } from './store.contract.ts';

storeContract('SQLite', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'stathera-store-'));
  return {
    connect: () => openSqliteStore({ file: join(directory, 'stathera.db') }),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
});
