import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import { openPostgresStore } from '../../src/store/postgres.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { postgresSettings, startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';
import { changesContract } from './changes.contract.ts';
import { type StoreUnderTest, storeContract } from './store.contract.ts';

async function emptySqlite(): Promise<StoreUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'stathera-store-'));
  return {
    connect: async () => openSqliteStore({ file: join(directory, 'stathera.db') }),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

storeContract('SQLite', emptySqlite);
changesContract('SQLite', emptySqlite);

const why = whyNoPostgres();
describe.skipIf(why !== undefined)(`over PostgreSQL${why === undefined ? '' : ` (${why})`}`, () => {
  let server: TestPostgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.remove());

  async function emptyPostgres(): Promise<StoreUnderTest> {
    const settings = postgresSettings(await server.createDatabase());
    return {
      connect: () => openPostgresStore(settings),
      // The server is removed with all it has.
      remove: async () => undefined,
    };
  }

  storeContract('PostgreSQL', emptyPostgres);
  changesContract('PostgreSQL', emptyPostgres);
});
