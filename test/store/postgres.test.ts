import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { outboxHas } from '../../src/audit/outbox-rows.ts';
import { isServiceError } from '../../src/core/errors.ts';
import { newId, serviceNamespaceId } from '../../src/core/ids.ts';
import { migrate, migrations } from '../../src/store/migrations.ts';
import { openPostgresStore } from '../../src/store/postgres.ts';
import type { PostgresSettings } from '../../src/store/postgres-connections.ts';
import type { Store } from '../../src/store/store.ts';
import { postgresSettings, startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';
import { startTestProxy } from '../support/proxy.ts';

const why = whyNoPostgres();
let server: TestPostgres;

async function settingsOfTest(): Promise<PostgresSettings> {
  return postgresSettings(await server.createDatabase());
}

async function opened(settings: PostgresSettings): Promise<Store> {
  const store = await openPostgresStore(settings);
  onTestFinished(() => store.close());
  return store;
}

async function migrated(settings?: PostgresSettings): Promise<{ settings: PostgresSettings; store: Store }> {
  const known = settings ?? (await settingsOfTest());
  const store = await opened(known);
  await migrate(store.db, store.dialect, 1);
  return { settings: known, store };
}

const row = (label = 'token') => ({
  id: newId(),
  namespace_id: serviceNamespaceId,
  token_label: label,
  created_at: 1,
});

const outboxRow = () => ({
  ...{ id: newId(), namespaceId: serviceNamespaceId, createdAt: 1 },
  ...{ writer: 'w1', entry: '{}', mac: '00' },
});

const insert = (store: Store, label?: string) =>
  store.transaction((tx) => tx.insertInto('roots').values(row(label)).execute());

const count = async (store: Store) => (await store.db.selectFrom('roots').select('id').execute()).length;

/** What a refusal says, which never holds the secret of these tests. */
async function refusalOf(work: () => Promise<unknown>): Promise<string> {
  const error = await work().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!isServiceError(error, 'store/unavailable')) throw new Error('not refused', { cause: error });
  expect(JSON.stringify([error.message, error.stack, String(error.cause)])).not.toContain(password);
  return error.detail;
}

const password = 'correct-horse-7';
const busy = 'The database cannot be used right now.';

/** Changes the running server's settings for one test. */
async function configured(setting: string): Promise<void> {
  const reload = async (text: string) => {
    await server.query(text);
    await server.query('select pg_reload_conf()');
    await delay(300);
  };
  onTestFinished(() => reload('alter system reset all'));
  await reload(`alter system set ${setting}`);
}

describe.skipIf(why !== undefined)(`PostgreSQL${why === undefined ? '' : ` (${why})`}`, () => {
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.remove());

  /** Guarantees that every commit waits for the disk, also where the server's own setting says otherwise, and that a stronger one stays. */
  test('every session waits for the disk', async () => {
    const shown = async (store: Store) =>
      (await sql<{ value: string }>`select current_setting('synchronous_commit') as value`.execute(store.db))
        .rows[0]?.value;
    const settings = await settingsOfTest();
    for (const [given, used] of Object.entries({
      off: 'on',
      local: 'on',
      remote_write: 'on',
      remote_apply: 'remote_apply',
    })) {
      await server.query(`alter database ${settings.database} set synchronous_commit = ${given}`);
      expect(await shown(await opened(settings))).toBe(used);
    }
  });

  /** Guarantees that a server that may lose what it committed is refused with what to do. */
  test.each(['fsync', 'full_page_writes'])('%s = off is refused', async (name) => {
    const settings = await settingsOfTest();
    await configured(`${name} = off`);
    expect(await refusalOf(() => opened(settings))).toContain(`set ${name} = on`);
    await opened({ ...settings, readonly: true });
  });

  /** Guarantees that what cannot be connected to is named, with the reason and no secret. */
  test('connections that fail say why', async () => {
    const settings = await settingsOfTest();
    const said = (changes: Partial<PostgresSettings>) => refusalOf(() => opened({ ...settings, ...changes }));
    expect(await said({ database: 'none' })).toMatch(/none at 127\.0\.0\.1:\d+ .*there is no such database/);
    expect(await said({ port: 1 })).toContain('nothing listens there');
    expect(await said({ host: '/nowhere' })).toContain('there is no such socket');
    expect(await said({ user: 'nobody' })).toContain('it refuses the user');
    expect(await said({ tls: {} })).toContain('does not support SSL');
    await server.query(
      `create database latin encoding 'LATIN1' locale 'C' template template0 owner stathera`,
    );
    expect(await said({ database: 'latin' })).toContain('UTF8');
  });

  /** Guarantees that processes that start at once migrate once, and all of them can go on. */
  test('starts at once migrate once', async () => {
    const settings = await settingsOfTest();
    const stores = await Promise.all(Array.from({ length: 4 }, () => opened(settings)));
    await Promise.all(stores.map((store) => migrate(store.db, store.dialect, 1)));
    const [first] = stores as [Store];
    const applied = await first.db
      .selectFrom('schema_migrations')
      .select('number')
      .orderBy('number')
      .execute();
    expect(applied.map(({ number }) => number)).toEqual(migrations.map(({ number }) => number));
    for (const store of stores) await insert(store);
  });

  /** Guarantees that the names are compared byte by byte, as in SQLite, whatever the locale. */
  test('texts are compared by their bytes', async () => {
    const { store } = await migrated();
    const { rows } = await sql<{ collation: string | null; column: string }>`
      select table_name || '.' || column_name as column, collation_name as collation from information_schema.columns
      where table_schema = 'public' and data_type = 'text' and table_name <> 'schema_migrations'`.execute(
      store.db,
    );
    expect(rows.length).toBeGreaterThan(30);
    for (const { column, collation } of rows) expect(collation, column).toBe('C');
  });

  /** Guarantees that a prepared read goes on when newer code adds a column under it. */
  test('prepared reads outlast a new column', async () => {
    const { store } = await migrated();
    const find = store.prepare<{ id: string }>((db) =>
      db.selectFrom('roots').selectAll().where('id', '=', ''),
    );
    const made = row();
    await store.db.insertInto('roots').values(made).execute();
    for (let time = 0; time < 3; time += 1) expect(await find(made.id)).toMatchObject([made]);
    await sql`alter table roots add column later text`.execute(store.db);
    for (let time = 0; time < 3; time += 1) expect(await find(made.id)).toMatchObject([made]);
  });

  /** Guarantees that a lock held by another is a typed refusal within the time limits, that readers go on, and that all works when it is gone. */
  test('a lock that is not given up', async () => {
    const { store, settings } = await migrated();
    const other = await opened(settings);
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let locked = (): void => undefined;
    const isLocked = new Promise<void>((resolve) => {
      locked = resolve;
    });
    const holding = other.transaction(async (tx) => {
      await sql`lock table roots in exclusive mode`.execute(tx);
      locked();
      await held;
    });
    await isLocked;
    expect(await refusalOf(() => insert(store))).toBe(busy);
    expect(await count(store)).toBe(0);
    release();
    await holding;
    await insert(store);
  });

  /**
   * Guarantees that a commit that waits for a synchronous standby is not taken for durable when an operator cancels the
   * wait: PostgreSQL then says that it is done, with a warning that it is on its own disk alone.
   */
  test.each(['a transaction', 'a statement'])('a cancelled wait for a standby: %s', async (what) => {
    const { store } = await migrated();
    await configured(`synchronous_standby_names = 'absent'`);
    const waiting = `from pg_stat_activity where wait_event = 'SyncRep'`;
    const work =
      what === 'a statement'
        ? () => store.db.insertInto('roots').values(row()).execute()
        : () => insert(store);
    const refused = refusalOf(work);
    await expect.poll(() => server.query(`select 1 ${waiting}`)).toHaveLength(1);
    await server.query(`select pg_cancel_backend(pid) ${waiting}`);
    expect(await refused).toBe(busy);
    // As the warning said.
    expect(await count(store)).toBe(1);
  });

  /** Guarantees that the pool is bounded, and that whoever waits for a connection gets one. */
  test('more work than connections', async () => {
    const { store, settings } = await migrated();
    const narrow = await opened({ ...settings, connections: 2 });
    await Promise.all(Array.from({ length: 50 }, () => insert(narrow)));
    expect(await count(store)).toBe(50);
    const open = await server.query(`select 1 from pg_stat_activity where datname = '${settings.database}'`);
    expect(open.length).toBeLessThanOrEqual(2 + settings.connections);
  });

  /** Guarantees that a connection for looking changes nothing. */
  test('a read-only connection', async () => {
    const { settings } = await migrated();
    const store = await opened({ ...settings, readonly: true });
    expect(await refusalOf(() => insert(store))).toBe(busy);
    expect(await count(store)).toBe(0);
  });

  /** Guarantees that a closed store refuses. */
  test('a closed store', async () => {
    const store = await openPostgresStore(await settingsOfTest());
    await store.close();
    await refusalOf(() => store.probe());
    await expect(store.db.selectFrom('roots').selectAll().execute()).rejects.toThrow();
  });

  /** Guarantees that a commit whose answer is lost is found, and that one still under way is waited for, never taken for undone. */
  test('commits of unknown outcome are settled', async () => {
    const { store, settings } = await migrated();
    const proxy = await startTestProxy(settings.port);
    onTestFinished(() => proxy.close());
    const doubtful = await opened({ ...settings, port: proxy.port });
    const values = ({ id, namespaceId, createdAt, writer, entry, mac }: ReturnType<typeof outboxRow>) => ({
      ...{ id, namespace_id: namespaceId, created_at: createdAt },
      entry: JSON.stringify({ writer, entry, mac }),
    });
    const [made, undone, late] = [outboxRow(), outboxRow(), outboxRow()];
    const change = (through: Store, of: ReturnType<typeof outboxRow>, then = async () => undefined) =>
      through.transaction(async (tx) => {
        await tx.insertInto('audit_outbox').values(values(of)).execute();
        await then();
      });

    proxy.onceSent('commit', () => proxy.loseAnswers());
    expect(await refusalOf(() => change(doubtful, made))).toBe(busy);
    proxy.pass();
    expect(await outboxHas(store, made)).toBe(true);

    expect(await outboxHas(store, undone)).toBe(false);
    expect(await outboxHas(store, undone)).toBe(false);

    let inserted = (): void => undefined;
    const under = new Promise<void>((resolve) => {
      inserted = resolve;
    });
    const committing = change(store, late, async () => {
      inserted();
      await delay(500);
      return undefined;
    });
    await under;
    expect(await outboxHas(await opened(settings), late)).toBe(true);
    await committing;
  });
});
