import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import Database from 'better-sqlite3';
import { sql } from 'kysely';
import { expect, onTestFinished, test } from 'vitest';
import { isServiceError } from '../../src/core/errors.ts';
import { newId, serviceNamespaceId } from '../../src/core/ids.ts';
import { migrate } from '../../src/store/migrations.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'stathera-sqlite-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function opened(file: string, settings: Partial<Parameters<typeof openSqliteStore>[0]> = {}): Store {
  const store = openSqliteStore({ file, ...settings });
  onTestFinished(() => store.close());
  return store;
}

async function migrated(directory = scratch()): Promise<{ file: string; store: Store }> {
  const file = join(directory, 'stathera.db');
  const store = opened(file);
  await migrate(store.db, store.dialect, 1);
  return { file, store };
}

const row = (label = 'token') => ({
  id: newId(),
  namespace_id: serviceNamespaceId,
  token_label: label,
  created_at: 1,
});

async function countRoots(store: Store): Promise<number> {
  const [found] = await store.db.selectFrom('roots').select(sql<number>`count(*)`.as('n')).execute();
  return found?.n ?? 0;
}

/** The code of a refusal whose public text names no SQL, no file and no way out of a quotation. */
function codeOf(error: unknown): string {
  if (!isServiceError(error)) throw error;
  if (/sql|stathera|["'/]/i.test(error.detail)) throw new Error(`its text tells too much: ${error.detail}`);
  return error.code;
}

/** The code of what must be refused. */
async function refusalOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    return codeOf(error);
  }
  return 'not refused';
}

const unavailable = 'store/unavailable';

/** Guarantees the durability that is promised: a write-ahead log, synchronised at every commit, references checked. */
test('the connection is set for durability', async () => {
  const { store } = await migrated();
  const pragma = async (name: string) => {
    const { rows } = await sql<Record<string, unknown>>`pragma ${sql.raw(name)}`.execute(store.db);
    return Object.values(rows[0] ?? {})[0];
  };
  expect(await pragma('journal_mode')).toBe('wal');
  expect(await pragma('synchronous')).toBe(2);
  expect(await pragma('foreign_keys')).toBe(1);
});

/** Guarantees that another's write lock is waited for, not failed on, while it is short. */
test('waits for another writer', async () => {
  const { file, store } = await migrated();
  const locker = spawn(process.execPath, [
    '-e',
    `const d = require('better-sqlite3')(process.argv[1]); d.exec('begin immediate'); console.log('locked');
     setTimeout(() => { d.exec('commit'); }, 300);`,
    file,
  ]);
  onTestFinished(() => void locker.kill('SIGKILL'));
  await once(createInterface({ input: locker.stdout }), 'line');
  await store.db.insertInto('roots').values(row()).execute();
  expect(await countRoots(store)).toBe(1);
});

/** Guarantees that a process that waits for another's lock does other things meanwhile, reading the database too. */
test('waiting for another writer holds up nothing else', async () => {
  const { file, store } = await migrated();
  const other = new Database(file);
  onTestFinished(() => void other.close());
  other.exec('begin immediate');
  let done = false;
  const change = store
    .transaction((tx) => tx.insertInto('roots').values(row()).execute())
    .then(() => {
      done = true;
    });
  for (let read = 0; read < 20; read += 1) {
    expect(await countRoots(store)).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(done).toBe(false);
  other.exec('commit');
  await change;
  expect(await countRoots(store)).toBe(1);
});

/** Guarantees that of two transactions in two connections the one that read first is not refused for it. */
test('a transaction sees nothing change under it', async () => {
  const { file, store } = await migrated();
  const other = opened(file);
  const count = async (from: Store) =>
    await from.transaction(async (tx) => {
      const rows = await tx.selectFrom('roots').select('id').execute();
      await new Promise((resolve) => setTimeout(resolve, 1));
      await tx
        .insertInto('roots')
        .values({ ...row(), created_at: rows.length })
        .execute();
    });
  await Promise.all(Array.from({ length: 10 }, () => [count(store), count(other)]).flat());
  const seen = await store.db.selectFrom('roots').select('created_at').orderBy('created_at').execute();
  expect(seen.map((one) => one.created_at)).toEqual(Array.from({ length: 20 }, (_, at) => at));
});

/** Guarantees that of several processes that start at once one migrates, and that the others go on with it. */
test('several processes migrate at once', async () => {
  const file = join(scratch(), 'stathera.db');
  const code = `
    const [{ openSqliteStore }, { migrate }] = await Promise.all(
      ['sqlite', 'migrations'].map((name) => import('${join(import.meta.dirname, '../../src/store')}/' + name + '.ts')));
    process.stdout.write('ready');
    await new Promise((resolve) => process.stdin.once('data', resolve));
    const store = openSqliteStore({ file: process.argv[1] });
    await migrate(store.db, store.dialect, 1);
    process.exit(0);`;
  const children = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', code, file], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  );
  onTestFinished(() => {
    for (const child of children) child.kill('SIGKILL');
  });
  await Promise.all(children.map((child) => once(child.stdout, 'data')));
  for (const child of children) child.stdin.write('go');
  const codes = await Promise.all(
    children.map(async (child) => ((await once(child, 'close')) as [number])[0]),
  );
  expect(codes).toEqual([0, 0, 0, 0]);
});

/** Guarantees that a lock held too long is a typed refusal, that readers go on, and that all works once it is gone. */
test('a locked database is a typed refusal', async () => {
  const { file, store } = await migrated();
  const hasty = opened(file, { busyMilliseconds: 20 });
  const other = new Database(file);
  onTestFinished(() => void other.close());
  other.exec('begin immediate');
  expect(await refusalOf(() => hasty.db.insertInto('roots').values(row()).execute())).toBe(unavailable);
  expect(
    await refusalOf(() => hasty.transaction((tx) => tx.insertInto('roots').values(row()).execute())),
  ).toBe(unavailable);
  await hasty.probe();
  expect(await countRoots(hasty)).toBe(0);
  other.exec('commit');
  await hasty.transaction((tx) => tx.insertInto('roots').values(row()).execute());
  expect(await countRoots(store)).toBe(1);
});

/** Guarantees that a connection for looking only reads, and that it creates nothing. */
test('a read-only connection changes nothing', async () => {
  const { file, store } = await migrated();
  await store.db.insertInto('roots').values(row()).execute();
  const reader = opened(file, { readonly: true });
  expect(await countRoots(reader)).toBe(1);
  expect(await refusalOf(() => reader.db.insertInto('roots').values(row()).execute())).toBe(unavailable);
  await reader.probe();
  const missing = join(scratch(), 'none.db');
  expect(await refusalOf(() => openSqliteStore({ file: missing, readonly: true }))).toBe(unavailable);
});

/** Guarantees that a directory, a file in no directory and a file that is no database are typed refusals. */
test('files that cannot be used are refused', async () => {
  const directory = scratch();
  const garbage = join(directory, 'garbage.db');
  writeFileSync(garbage, 'this is no database, and long enough to be read as one'.repeat(100));
  for (const file of [garbage, directory, join(directory, 'none', 'stathera.db')]) {
    expect(await refusalOf(() => openSqliteStore({ file }))).toBe(unavailable);
  }
});

/** Guarantees that a file the process may not write is a typed refusal. */
test('a write-protected file is refused', async ({ skip }) => {
  skip(process.getuid?.() === 0, 'root may write every file');
  const { file } = await migrated();
  chmodSync(file, 0o400);
  expect(await refusalOf(() => opened(file).db.insertInto('roots').values(row()).execute())).toBe(
    unavailable,
  );
});

/** Guarantees that pages overwritten outside are noticed or fail typed, and never crash the process. */
test('a damaged file is a typed refusal', async () => {
  const { file, store } = await migrated();
  for (let index = 0; index < 200; index += 1) await store.db.insertInto('roots').values(row()).execute();
  await store.close();
  const raw = new Database(file);
  raw.pragma('wal_checkpoint(TRUNCATE)');
  const pageBytes = raw.pragma('page_size', { simple: true }) as number;
  const pages = raw.pragma('page_count', { simple: true }) as number;
  raw.close();
  const descriptor = openSync(file, 'r+');
  for (let page = 1; page < pages; page += 1) {
    writeSync(descriptor, Buffer.alloc(pageBytes, 0xee), 0, pageBytes, page * pageBytes);
  }
  closeSync(descriptor);
  const read = async () => {
    const damaged = opened(file);
    return await damaged.db.selectFrom('roots').selectAll().execute();
  };
  expect(await refusalOf(read)).toBe(unavailable);
});

/** Guarantees that a full disk refuses typed, loses nothing acknowledged, and that writing goes on once there is room. */
test('a full disk', async ({ skip }) => {
  const directory = scratch();
  const mount = join(directory, 'small');
  mkdirSync(mount);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', mount]);
  skip(mounted.status !== 0, 'needs the right to mount a small file system');
  onTestFinished(() => void spawnSync('umount', ['-l', mount]));
  const { store } = await migrated(mount);
  const ballast = join(mount, 'ballast');
  const label = 'x'.repeat(20_000);
  let acknowledged = 0;
  let refusal: unknown;
  while (refusal === undefined) {
    await store
      .transaction((tx) => tx.insertInto('roots').values(row(label)).execute())
      .then(
        () => {
          acknowledged += 1;
        },
        (error: unknown) => {
          refusal = error;
        },
      );
    if (acknowledged === 5) writeFileSync(ballast, Buffer.alloc(1024 * 1024));
  }
  expect(codeOf(refusal)).toBe(unavailable);
  expect(await refusalOf(() => store.db.insertInto('roots').values(row(label)).execute())).toBe(unavailable);
  expect(await countRoots(store)).toBe(acknowledged);
  rmSync(ballast);
  await store.transaction((tx) => tx.insertInto('roots').values(row(label)).execute());
  expect(await countRoots(store)).toBe(acknowledged + 1);
});

/** Guarantees that a closed store refuses and does not crash. */
test('a closed store refuses', async () => {
  const { store } = await migrated();
  await store.close();
  await expect(store.db.selectFrom('roots').selectAll().execute()).rejects.toThrow();
  expect(await refusalOf(() => store.probe())).toBe(unavailable);
});

/** Guarantees that every acknowledged transaction is there after SIGKILL in the middle of writing, and no half of one. */
test('acknowledged rows survive a kill', { timeout: 120_000 }, async () => {
  const { file, store } = await migrated();
  for (let round = 0; round < 3; round += 1) {
    const before = await countRoots(store);
    const child = spawn(process.execPath, [join(import.meta.dirname, 'child.ts'), file], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_NO_WARNINGS: '1' },
    });
    const ended = once(child, 'close');
    let acknowledged = 0;
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => {
      acknowledged = Number(line);
      if (acknowledged === 40 + round * 17) child.kill('SIGKILL');
    });
    await ended;
    expect(acknowledged).toBeGreaterThanOrEqual(40);
    const numbers = await store.db
      .selectFrom('roots')
      .select(['created_at', sql<number>`count(*)`.as('n')])
      .groupBy('created_at')
      .orderBy('created_at')
      .execute();
    expect(await countRoots(store)).toBeGreaterThanOrEqual(before + 2 * acknowledged);
    for (const { n } of numbers) expect(n % 2).toBe(0);
    const { rows } = await sql<{ integrity_check: string }>`pragma integrity_check`.execute(store.db);
    expect(rows).toEqual([{ integrity_check: 'ok' }]);
  }
});
