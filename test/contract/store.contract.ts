import { type Kysely, sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ServiceError } from '../../src/core/errors.ts';
import { newId, serviceNamespaceId } from '../../src/core/ids.ts';
import { type Migration, migrate, migrations, schemaNumber } from '../../src/store/migrations.ts';
import type { AuditOutboxRow, Schema } from '../../src/store/schema.ts';
import { isUniqueViolation, type Store } from '../../src/store/store.ts';

/** One database of its own to hold against the contract. */
export interface StoreUnderTest {
  /** A connection to the same database: what another process would have. Closed by the test. */
  connect(): Promise<Store>;
  /** Drops the database. */
  remove(): Promise<void>;
}

const outboxRow = (values: Partial<AuditOutboxRow> = {}): AuditOutboxRow => ({
  id: newId(),
  namespace_id: serviceNamespaceId,
  entry: '{}',
  created_at: 1,
  ...values,
});

const rootRow = (values: Partial<Schema['roots']> = {}): Schema['roots'] => ({
  id: newId(),
  namespace_id: serviceNamespaceId,
  token_label: 'token',
  created_at: 1,
  ...values,
});

async function labelOf(db: Kysely<Schema>, id: string): Promise<string | undefined> {
  const row = await db.selectFrom('roots').select('token_label').where('id', '=', id).executeTakeFirst();
  return row?.token_label;
}

/** Names of what the schema holds, from the database itself. */
async function tablesOf(store: Store): Promise<string[]> {
  const tables = await store.db.introspection.getTables();
  return tables.map(({ name }) => name).toSorted();
}

/** What every adapter of store/store.ts promises. @param open gives an empty database */
export function storeContract(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    let under: StoreUnderTest;
    let store: Store;
    let other: Store;
    beforeAll(async () => {
      under = await open();
      store = await under.connect();
      await migrate(store.db, store.dialect, 1);
      other = await under.connect();
    });
    afterAll(async () => {
      await store.close();
      await other.close();
      await under.remove();
    });

    transactions(() => ({ store, other }));
    refusal(() => under.connect());
    values(() => ({ store, other }));
    migrationsContract(open);
  });
}

type Connections = () => { readonly store: Store; readonly other: Store };

function transactions(connections: Connections): void {
  /** Guarantees that what a transaction did is there for every connection when it resolves. */
  test('a commit is seen by others at once', async () => {
    const { store, other } = connections();
    const [first, second] = [rootRow({ token_label: 'first' }), rootRow({ token_label: 'second' })];
    const answer = await store.transaction(async (tx) => {
      await tx.insertInto('roots').values(first).execute();
      await tx.insertInto('roots').values(second).execute();
      expect(await labelOf(tx, first.id)).toBe('first');
      expect(await labelOf(other.db, first.id)).toBeUndefined();
      return 'done';
    });
    expect(answer).toBe('done');
    expect(await labelOf(other.db, first.id)).toBe('first');
    expect(await labelOf(other.db, second.id)).toBe('second');
  });

  /** Guarantees that nothing of a transaction remains when its work rejects, and that the error comes through. */
  test('a failed transaction leaves nothing', async () => {
    const { store, other } = connections();
    const row = rootRow();
    const failed = store.transaction(async (tx) => {
      await tx.insertInto('roots').values(row).execute();
      throw new Error('changed my mind');
    });
    await expect(failed).rejects.toThrow('changed my mind');
    expect(await labelOf(store.db, row.id)).toBeUndefined();
    expect(await labelOf(other.db, row.id)).toBeUndefined();
  });

  /** Guarantees that a violated key is told apart from every other error, and takes its transaction along. */
  test('unique violations are detected', async () => {
    const { store } = connections();
    const taken = rootRow();
    await store.db.insertInto('roots').values(taken).execute();
    const also = rootRow();
    const byPrimaryKey: unknown = await store
      .transaction(async (tx) => {
        await tx.insertInto('roots').values(also).execute();
        await tx.insertInto('roots').values(taken).execute();
      })
      .catch((error: unknown) => error);
    expect(isUniqueViolation(byPrimaryKey)).toBe(true);
    expect(await labelOf(store.db, also.id)).toBeUndefined();

    const namespace = { id: newId(), namespace_id: newId(), name: newId(), region: 'local', created_at: 1 };
    const full = { ...namespace, revision: 1, mac: new Uint8Array(33) };
    await store.db.insertInto('namespaces').values(full).execute();
    const byConstraint: unknown = await store.db
      .insertInto('namespaces')
      .values({ ...full, id: newId() })
      .execute()
      .catch((error: unknown) => error);
    expect(isUniqueViolation(byConstraint)).toBe(true);

    const dangling = { system_key_id: newId(), root_id: newId(), namespace_id: newId() };
    const byReference: unknown = await store.db
      .insertInto('system_key_wrappings')
      .values({ ...dangling, blob: new Uint8Array(1), mac: new Uint8Array(1) })
      .execute()
      .catch((error: unknown) => error);
    expect(byReference).toBeInstanceOf(Error);
    for (const error of [byReference, new Error('unique'), null, undefined, 'SQLITE_CONSTRAINT_UNIQUE']) {
      expect(isUniqueViolation(error)).toBe(false);
    }
  });

  /** Guarantees compare-and-set: of many who change the same revision, exactly one does, and knows it. */
  test('one of many concurrent changes takes effect', async () => {
    const { store, other } = connections();
    const row = rootRow({ created_at: 1 });
    await store.db.insertInto('roots').values(row).execute();
    const results = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const { numUpdatedRows } = await (index % 2 === 0 ? store : other).db
          .updateTable('roots')
          .set({ created_at: 2, token_label: `winner ${index}` })
          .where('id', '=', row.id)
          .where('created_at', '=', 1)
          .executeTakeFirst();
        return { index, updated: numUpdatedRows };
      }),
    );
    const winners = results.filter(({ updated }) => updated === 1n);
    expect(winners).toHaveLength(1);
    expect(await labelOf(store.db, row.id)).toBe(`winner ${winners[0]?.index}`);
  });

  /** Guarantees that no update is lost between connections: a transaction that read what another changed meanwhile is refused. */
  test('no update is lost between connections', async () => {
    const { store, other } = connections();
    const row = rootRow({ created_at: 0 });
    await store.db.insertInto('roots').values(row).execute();
    let done = 0;
    const increment = async (through: Store): Promise<void> => {
      const work = through.transaction(async (tx) => {
        const query = tx.selectFrom('roots').select('created_at').where('id', '=', row.id);
        const { created_at: before } = await query.executeTakeFirstOrThrow();
        await new Promise(setImmediate);
        await tx
          .updateTable('roots')
          .set({ created_at: before + 1 })
          .where('id', '=', row.id)
          .execute();
      });
      const code = await work.then(
        () => 'done',
        (error: { code: string }) => error.code,
      );
      expect(['done', 'store/unavailable']).toContain(code);
      if (code === 'done') done += 1;
    };
    await Promise.all(Array.from({ length: 20 }, (_, index) => increment(index % 2 === 0 ? store : other)));
    expect(done).toBeGreaterThan(0);
    const after = await store.db.selectFrom('roots').selectAll().where('id', '=', row.id).executeTakeFirst();
    expect(after?.created_at).toBe(done);
  });

  /** Guarantees that concurrent transactions of one connection do not see each other half done. */
  test('transactions of one store are serial', async () => {
    const { store } = connections();
    const row = rootRow({ created_at: 0 });
    await store.db.insertInto('roots').values(row).execute();
    const increment = () =>
      store.transaction(async (tx) => {
        const { created_at: before } = await tx
          .selectFrom('roots')
          .select('created_at')
          .where('id', '=', row.id)
          .executeTakeFirstOrThrow();
        await new Promise(setImmediate);
        await tx
          .updateTable('roots')
          .set({ created_at: before + 1 })
          .where('id', '=', row.id)
          .execute();
      });
    await Promise.all(Array.from({ length: 25 }, increment));
    const after = await store.db.selectFrom('roots').selectAll().where('id', '=', row.id).executeTakeFirst();
    expect(after?.created_at).toBe(25);
  });
}

function values(connections: Connections): void {
  /** Guarantees that bytes, text, numbers up to 2^53 − 1 and null come back as they went in, of the same type. */
  test('values keep their type', async () => {
    const { store, other } = connections();
    const row = {
      ...{ id: newId(), namespace_id: serviceNamespaceId, writer: newId(), number: 1, file: 'ä\u0000𝄞.log' },
      first_sequence: Number.MAX_SAFE_INTEGER,
      first_head: Uint8Array.from({ length: 256 }, (_, index) => index),
      ...{ last_sequence: null, last_head: new Uint8Array(0), created_at: 0 },
    };
    await store.db.insertInto('audit_segments').values(row).execute();
    const found = await other.db
      .selectFrom('audit_segments')
      .selectAll()
      .where('id', '=', row.id)
      .executeTakeFirstOrThrow();
    expect(found).toMatchObject({
      file: row.file,
      first_sequence: Number.MAX_SAFE_INTEGER,
      last_sequence: null,
      created_at: 0,
      loss_accepted_at: null,
    });
    expect(Buffer.from(found.first_head)).toEqual(Buffer.from(row.first_head));
    expect(found.last_head).toHaveLength(0);
  });

  /** Guarantees that a prepared query takes its parameters anew at each call and sees what was committed. */
  test('prepared queries', async () => {
    const { store } = connections();
    const find = store.prepare<AuditOutboxRow>((db) =>
      db.selectFrom('audit_outbox').selectAll().where('id', '=', '').where('created_at', '>', 0),
    );
    const rows = [outboxRow({ entry: 'one' }), outboxRow({ entry: 'two', created_at: 7 })];
    await store.db.insertInto('audit_outbox').values(rows).execute();
    for (const row of rows) expect(await find(row.id, 0)).toEqual([row]);
    expect(await find(rows[1]?.id, 7)).toEqual([]);
    expect(await find(newId(), 0)).toEqual([]);
    await store.db.updateTable('audit_outbox').set({ entry: 'new' }).execute();
    expect((await find(rows[0]?.id, 0))[0]?.entry).toBe('new');
  });

  /** Guarantees that every number may be asked for, also of the columns that never hold large ones. */
  test('questions about large numbers', async () => {
    const { store } = connections();
    const query = store.db
      .selectFrom('keys')
      .selectAll()
      .where('current_ordinal', '=', Number.MAX_SAFE_INTEGER);
    expect(await query.execute()).toEqual([]);
  });

  /** Guarantees that text which looks like SQL is text. */
  test('parameters are not SQL', async () => {
    const { store } = connections();
    const row = rootRow({ token_label: "'; drop table roots; --" });
    await store.db.insertInto('roots').values(row).execute();
    expect(await labelOf(store.db, row.id)).toBe(row.token_label);
    expect(await labelOf(store.db, `${row.id}' or '1'='1`)).toBeUndefined();
  });

  /** Guarantees that the probe of a sound database resolves and changes none of its rows. */
  test('probes', async () => {
    const { store } = connections();
    const count = () => store.db.selectFrom('roots').select(sql<number>`count(*)`.as('n')).execute();
    const before = await count();
    await store.probe();
    expect(await count()).toEqual(before);
  });
}

function refusal(connect: () => Promise<Store>): void {
  /** Guarantees that a store that was told to refuses everything, what was begun before included, with the reason it was given, and can be closed. */
  test('refuses', async () => {
    const [refusing, other] = [await connect(), await connect()];
    const reason = new ServiceError('store/unavailable', 'for a test');
    const find = refusing.prepare<{ id: string }>((db) =>
      db.selectFrom('roots').selectAll().where('id', '=', ''),
    );
    const row = rootRow();
    const [open, told] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const begun = refusing.transaction(async (tx) => {
      await tx.insertInto('roots').values(row).execute();
      open.resolve();
      await told.promise;
    });
    await open.promise;
    refusing.refuse(reason);
    told.resolve();
    await expect(begun).rejects.toBe(reason);
    for (let time = 0; time < 2; time += 1) {
      await expect(find(row.id)).rejects.toBe(reason);
      await expect(refusing.probe()).rejects.toBe(reason);
      await expect(refusing.db.selectFrom('roots').selectAll().execute()).rejects.toBe(reason);
      await expect(refusing.transaction(async () => undefined)).rejects.toBe(reason);
    }
    expect(await labelOf(other.db, row.id)).toBeUndefined();
    await other.transaction((tx) => tx.insertInto('roots').values(row).execute());
    await refusing.close();
    await other.close();
  });
}

const extra = (number: number, oldestCode: number, up?: Migration['up']): Migration => ({
  ...{ number, name: `extra-${number}`, oldestCode },
  up:
    up ??
    (async (db) => {
      await db.schema.createTable(`extra_${number}`).addColumn('id', 'text').execute();
    }),
});

function migrationsContract(open: () => Promise<StoreUnderTest>): void {
  /** An empty database for one test. */
  async function withEmpty(work: (store: Store, under: StoreUnderTest) => Promise<void>): Promise<void> {
    const under = await open();
    const store = await under.connect();
    try {
      await work(store, under);
    } finally {
      await store.close();
      await under.remove();
    }
  }

  const run = (store: Store, known?: readonly Migration[]) => migrate(store.db, store.dialect, 5, known);
  const newest = migrations.at(-1)?.number ?? 0;

  /** Guarantees that the migrations make every table of the schema, once: a second run changes nothing. */
  test('migrates from nothing, and only once', async () => {
    await withEmpty(async (store) => {
      await run(store);
      const tables = await tablesOf(store);
      const expected = [
        ...[
          'audit_outbox',
          'audit_segment_bytes',
          'audit_segments',
          'audit_writers',
          'changes',
          'coverage_reports',
          'field_schemas',
          'idempotency',
        ],
        ...['import_wrapping_keys', 'key_retention', 'key_usage', 'key_versions', 'keys'],
        ...[
          'contribution_ciphertexts',
          'contributions',
          'dataset_budgets',
          'dataset_epoch_keys',
          'dataset_epochs',
          'dataset_queries',
          'datasets',
        ],
      ];
      expect(tables).toEqual(
        [
          ...expected,
          ...[
            'leases',
            'jobs',
            'job_chunks',
            'namespaces',
            'root_transport_keys',
            'roots',
            ...['rotation_defaults', 'rotation_schedules', 'rotations'],
            'schema_migrations',
            'system_key_transports',
            'system_key_wrappings',
            'system_keys',
            'tokens',
            'version_destructions',
            ...['events', 'webhook_deliveries', 'webhooks'],
          ],
        ].toSorted(),
      );
      expect(await schemaNumber(store.db)).toBe(newest);
      const applied = await store.db.selectFrom('schema_migrations').selectAll().execute();
      await migrate(store.db, store.dialect, 99);
      expect(await store.db.selectFrom('schema_migrations').selectAll().execute()).toEqual(applied);
      expect(await tablesOf(store)).toEqual(tables);
    });
  });

  /** Guarantees that every table names a namespace, so that all data can be cut by it. */
  test('every table has a namespace', async () => {
    await withEmpty(async (store) => {
      await run(store);
      for (const { name, columns } of await store.db.introspection.getTables()) {
        expect(
          columns.map((column) => column.name),
          name,
        ).toContain('namespace_id');
      }
    });
  });

  /** Guarantees that a migration that fails half-way leaves nothing of itself, those before it stay, and it can be run again. */
  test('a half-done migration is rolled back', async () => {
    await withEmpty(async (store) => {
      let broken = true;
      const known = [
        ...migrations,
        extra(newest + 1, 1),
        extra(newest + 2, 1, async (db) => {
          await db.schema.createTable('half').addColumn('id', 'text').execute();
          await db.insertInto('roots').values(rootRow()).execute();
          if (broken) throw new Error('power cut');
        }),
      ];
      await expect(run(store, known)).rejects.toThrow('power cut');
      expect(await tablesOf(store)).not.toContain('half');
      expect(await store.db.selectFrom('roots').selectAll().execute()).toEqual([]);
      expect(await schemaNumber(store.db)).toBe(newest + 1);
      broken = false;
      await run(store, known);
      expect(await tablesOf(store)).toContain('half');
      expect(await schemaNumber(store.db)).toBe(newest + 2);
    });
  });

  /** Guarantees that older code refuses a database it must not touch, with a text that says what to do, and changes nothing. */
  test('older code refuses what newer code closed to it', async () => {
    await withEmpty(async (store) => {
      const newer = [...migrations, extra(newest + 1, newest + 1)];
      await run(store, newer);
      const tables = await tablesOf(store);
      await expect(run(store)).rejects.toMatchObject({
        code: 'store/unavailable',
        detail: expect.stringMatching(new RegExp(`migration ${newest + 1}, extra.*upgrade`)),
      });
      expect(await tablesOf(store)).toEqual(tables);
      await run(store, newer);
      await run(store, [...newer, extra(newest + 2, 1)]);
    });
  });

  /** Guarantees that older code goes on working beside an additive migration of newer code, so nodes can be upgraded one by one. */
  test('older code accepts an additive migration', async () => {
    await withEmpty(async (store, under) => {
      await run(store, [...migrations, extra(newest + 1, 1)]);
      const older = await under.connect();
      try {
        await run(older);
        const row = rootRow();
        await older.db.insertInto('roots').values(row).execute();
        expect(await labelOf(store.db, row.id)).toBe('token');
        expect(await schemaNumber(older.db)).toBe(newest + 1);
      } finally {
        await older.close();
      }
    });
  });
}
