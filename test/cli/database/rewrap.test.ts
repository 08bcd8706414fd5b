import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Column } from '../../../src/cli/database/column.ts';
import { rewrapPage } from '../../../src/cli/database/pages.ts';
import { openPostgresColumn } from '../../../src/cli/database/postgres-column.ts';
import { openSqliteColumn } from '../../../src/cli/database/sqlite-column.ts';
import { readVersions } from '../../../src/cli/database/target.ts';
import { createLocalEncryption } from '../../../src/client/node/index.ts';
import { removeDirectory } from '../../support/data.ts';
import { postgresSettings } from '../../support/postgres.ts';
import { startTestService, type TestService } from '../../support/service.ts';
import { run, start } from '../support.ts';
import {
  type Application,
  cryptography,
  kinds,
  openApplication,
  removeServer,
  type Told,
} from './support.ts';

let service: TestService;
let crypto: ReturnType<typeof cryptography>;
let state: string;
let env: Record<string, string>;
beforeAll(async () => {
  service = await startTestService();
  crypto = cryptography(service);
  state = mkdtempSync(join(tmpdir(), 'stathera-state-'));
  env = {
    STATHERA_URL: service.url,
    STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token'),
    XDG_STATE_HOME: state,
  };
});
afterAll(async () => {
  await service.dispose();
  await removeServer();
  rmSync(state, { recursive: true, force: true });
});

let keys = 0;
async function freshKey(): Promise<string> {
  keys += 1;
  await crypto.client.createKey({ name: `column-${keys}` });
  return `column-${keys}`;
}

async function application(kind: Application['kind']): Promise<Application> {
  const opened = await openApplication(kind);
  onTestFinished(() => opened.close());
  return opened;
}

/** Quick: nobody keeps a data key, and the service sees a rotation at once. */
const settled = ['--data-key-lease', '0', '--staleness', '50'];

function argumentsOf(app: Application, key: string, more: readonly string[] = []): string[] {
  return [
    ...[
      'rewrap',
      '--json',
      '--key',
      key,
      '--database-url',
      app.url,
      '--table',
      'payments',
      '--column',
      'card',
    ],
    ...[
      '--id-column',
      'id',
      '--context-column',
      'row=id',
      '--context',
      'table=payments',
      ...settled,
      ...more,
    ],
  ];
}

const contextOf = (id: unknown) => ({ table: 'payments', row: String(id) });

/** A table of rows `from` to `to`, each encrypted with the key's current version, and how often each was changed. */
async function fill(app: Application, key: string, from: number, to: number): Promise<void> {
  const ids = Array.from({ length: to - from }, (_, at) => from + at);
  const ciphertexts = await crypto.encryptAll(
    key,
    ids.map((id) => ({ plaintext: Buffer.from(`secret ${id}`), context: contextOf(id) })),
  );
  await app.pay(ids.map((id, at) => [id, ciphertexts[at] ?? new Uint8Array()]));
}

async function createPayments(app: Application): Promise<void> {
  await app.run(
    `create table payments (id bigint primary key, card ${app.binary}, changed integer not null default 0)`,
  );
  if (app.kind === 'sqlite') {
    await app.run(
      'create trigger counted after update of card on payments begin update payments set changed = changed + 1 where id = new.id; end',
    );
    return;
  }
  await app.run(
    'create function count_change() returns trigger language plpgsql as $$ begin new.changed := old.changed + 1; return new; end $$',
  );
  await app.run(
    'create trigger counted before update of card on payments for each row execute function count_change()',
  );
}

interface Payment {
  readonly id: number | string;
  readonly card: Buffer | null;
  readonly changed: number;
}

const payments = (app: Application) => app.all<Payment>('select id, card, changed from payments order by id');

/** For comparing: buffers of megabytes are compared byte by byte. */
const digested = (rows: readonly Payment[]) =>
  rows.map(({ card, ...row }) => ({ ...row, card: card && createHash('sha256').update(card).digest('hex') }));

/** What the rows say, opened by the service. */
async function opened(rows: readonly Payment[]): Promise<{ text: string; version: number }[]> {
  return await crypto.decryptAll(
    rows.flatMap(({ id, card }) => (card ? [{ ciphertext: card, context: contextOf(id) }] : [])),
  );
}

function openColumn(app: Application): Promise<Column> | Column {
  const name = {
    ...{ table: 'payments', column: 'card', idColumns: ['id'], contextColumns: ['id'], path: undefined },
  };
  return app.kind === 'sqlite'
    ? openSqliteColumn(app.url.slice('sqlite:'.length), name)
    : openPostgresColumn(postgresSettings(app.url), name);
}

describe.each(kinds)('over %s', (kind) => {
  /** Guarantees that every row of an older version is moved and opens as before, that nothing else changes, and evidence. */
  test('to the last row', { timeout: 60_000 }, async () => {
    const app = await application(kind);
    const [key, other] = [await freshKey(), await freshKey()];
    await createPayments(app);
    await fill(app, key, 0, 300);
    // A long one, under a data key: its header alone is read and changed.
    const local = createLocalEncryption({ client: crypto.client, key });
    const long = await local.encrypt(randomBytes(3_000_000), { context: contextOf(300) });
    await crypto.client.rotateKey({ key });
    await fill(app, key, 301, 400);
    const [foreign] = await crypto.encryptAll(other, [{ plaintext: Buffer.from('x'), context: {} }]);
    const odd = [long, foreign, null, Buffer.from('in clear'), Buffer.alloc(0), long.subarray(0, 100)];
    for (const [at, value] of odd.entries())
      await app.run(`insert into payments (id, card) values (${app.hole(1)}, ${app.hole(2)})`, [
        at === 0 ? 300 : 1_000 + at,
        value,
      ]);
    await crypto.client.rotateKey({ key });
    await fill(app, key, 400, 420);
    const before = await payments(app);

    const dry = await run(env, ...argumentsOf(app, key, ['--dry-run']));
    expect(dry.stderr).toBe('');
    expect(dry.json()).toMatchObject({
      complete: false,
      rows: 425,
      versions: [{ found: 301 }, { found: 99 }, { found: 20 }],
    });
    expect(digested(await payments(app))).toEqual(digested(before));

    const ran = await run(env, ...argumentsOf(app, key, ['--page', '64']));
    expect([ran.code, ran.stderr]).toEqual([0, '']);
    const told = ran.json() as Told;
    expect(told).toMatchObject({
      rows: 425,
      nulls: 1,
      foreign: 1,
      unreadable: 3,
      agreed: true,
      complete: true,
    });
    const counts = told.versions.map(({ version, found, rewrapped, failed, remaining }) => [
      ...[version, found, rewrapped, failed, remaining],
    ]);
    expect(counts).toEqual([
      [1, 301, 301, 0, 0],
      [2, 99, 99, 0, 0],
      [3, 420, 0, 0, 420],
    ]);
    expect(told.unreadableIds).toEqual([['1003'], ['1004'], ['1005']]);

    const after = await payments(app);
    const odds = (rows: readonly Payment[]) => rows.filter(({ id }) => Number(id) > 1_000);
    expect(digested(odds(after))).toEqual(digested(odds(before)));
    const ciphertexts = after.filter(({ id }) => Number(id) < 420 && Number(id) !== 300);
    const texts = await opened(ciphertexts);
    expect(texts.map(({ text }) => text)).toEqual(ciphertexts.map(({ id }) => `secret ${id}`));
    expect(new Set(texts.map(({ version }) => version))).toEqual(new Set([3]));
    expect(after.map(({ changed }) => changed)).toEqual(after.map(({ id }) => (Number(id) < 400 ? 1 : 0)));
    const moved = after.find(({ id }) => Number(id) === 300)?.card ?? Buffer.alloc(0);
    const whole = await local.decrypt(moved, { context: contextOf(300) });
    expect(Buffer.compare(whole, await local.decrypt(long, { context: contextOf(300) }))).toBe(0);

    const { items } = await crypto.client.listCoverage({ key });
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({ id: told.report, complete: true, currentVersion: 3, unreadable: 3 });
    expect(items[0]?.place).toMatchObject({ system: kind, table: 'payments', column: 'card' });
    expect(JSON.stringify(items)).not.toContain('1003');
    const states = await crypto.client.listKeyVersions({ key });
    expect(states.items.map((each) => each.state)).toEqual(['enabled', 'decrypt-only', 'decrypt-only']);

    const again = (await run(env, ...argumentsOf(app, key))).json() as Told;
    expect([again.complete, again.versions.map(({ rewrapped }) => rewrapped)]).toEqual([true, [0]]);
    expect(existsSync(join(state, 'stathera')) ? readdirSync(join(state, 'stathera')) : []).toEqual([]);
  });

  /** Guarantees that a run that is killed at any point loses nothing, and that the next one does nothing a second time. */
  test('killed again and again', { timeout: 120_000 }, async () => {
    const app = await application(kind);
    const key = await freshKey();
    await createPayments(app);
    await fill(app, key, 0, 800);
    await crypto.client.rotateKey({ key });
    const changed = async () => {
      const [row] = await app.all<{ count: number | string }>(
        'select count(*) as count from payments where changed > 0',
      );
      return Number(row?.count);
    };
    for (const until of [1, 200, 500]) {
      const child = start(env, ...argumentsOf(app, key, ['--page', '40', '--rate', '400']));
      const closed = once(child, 'close');
      await vi.waitFor(async () => expect(await changed()).toBeGreaterThanOrEqual(until), {
        timeout: 60_000,
        interval: 1,
      });
      child.kill('SIGKILL');
      await closed;
      // Where it goes on.
      if (until > 1) expect(readdirSync(join(state, 'stathera'))).toHaveLength(1);
    }
    const ran = await run(env, ...argumentsOf(app, key));
    expect([ran.code, ran.stderr]).toEqual([0, '']);
    const rows = await payments(app);
    expect(rows.map((row) => row.changed)).toEqual(Array(800).fill(1));
    const texts = await opened(rows);
    expect(texts).toEqual(rows.map(({ id }) => ({ text: `secret ${id}`, version: 2 })));
    expect(ran.json()).toMatchObject({ complete: true, rows: 800 });
    expect(readdirSync(join(state, 'stathera'))).toEqual([]);
  });

  /** Guarantees that what an application writes between reading and change is never written over, and is moved as well. */
  test('beside writers of the same rows', { timeout: 60_000 }, async () => {
    const app = await application(kind);
    const key = await freshKey();
    await createPayments(app);
    await fill(app, key, 0, 40);
    const ids = Array.from({ length: 40 }, (_, id) => id);
    const written = (id: number) => ({ plaintext: Buffer.from(`written ${id}`), context: contextOf(id) });
    // Of programs that encrypted before the rotation, and write only now.
    const stale = await crypto.encryptAll(key, ids.map(written));
    await crypto.client.rotateKey({ key });
    const fresh = await crypto.encryptAll(key, ids.map(written));
    const column = await openColumn(app);
    onTestFinished(() => column.close());
    const set = (id: number, card: Uint8Array | undefined) =>
      app.run(`update payments set card = ${app.hole(1)} where id = ${app.hole(2)}`, [card ?? null, id]);
    let updates = 0;
    const beside: Column = {
      ...column,
      async update(changes) {
        updates += 1;
        if (updates === 1) {
          for (let id = 0; id < 10; id += 1) await set(id, stale[id]);
          for (let id = 10; id < 20; id += 1) await set(id, fresh[id]);
          await set(20, undefined);
          await app.run('delete from payments where id = 21');
        }
        // One that another writer wins a second time.
        if (updates === 2) await set(0, fresh[0]);
        return await column.update(changes);
      },
    };
    const versions = await readVersions(crypto.client, key);
    const target = { ...versions, context: { table: 'payments' }, contextNames: ['row'] };
    const page = await column.page(undefined, 100);
    const signal = new AbortController().signal;
    const tally = await rewrapPage(page, { column: beside, client: crypto.client, target }, signal);
    expect([...tally.rewrapped.values(), ...tally.failed.values(), updates]).toEqual([18 + 9, 2]);
    const rows = await payments(app);
    expect(rows.map(({ id }) => Number(id))).toEqual(ids.filter((id) => id !== 21));
    expect(rows[20]?.card).toBeNull();
    const kept = rows.filter(({ card }) => card !== null);
    expect(await opened(kept)).toEqual(
      kept.map(({ id }) => ({ text: `${Number(id) < 20 ? 'written' : 'secret'} ${id}`, version: 2 })),
    );
  });

  /** Guarantees that with another context than the rows' nothing is changed, and that it is said early and clearly. */
  test('with a wrong context', { timeout: 60_000 }, async () => {
    const app = await application(kind);
    const key = await freshKey();
    await createPayments(app);
    await fill(app, key, 1, 151);
    await crypto.client.rotateKey({ key });
    const before = await payments(app);
    const wrong = argumentsOf(app, key).map((each) => (each === 'row=id' ? 'row=changed' : each));
    const ran = await run(env, ...wrong);
    expect(ran.code).toBe(1);
    expect(ran.stderr).toContain('is the context what they were');
    expect(digested(await payments(app))).toEqual(digested(before));
    // Of a few rows the others are moved.
    await app.run(`update payments set card = (select card from payments where id = 2) where id = 1`);
    const some = await run(env, ...argumentsOf(app, key));
    expect([some.code, some.stderr]).toEqual([1, '']);
    expect(some.json()).toMatchObject({
      ...{ complete: false, agreed: true, failedIds: [{ id: ['1'], code: 'envelope/decryption-failed' }] },
      versions: [{ version: 1, found: 150, rewrapped: 149, failed: 1, remaining: 1 }, { version: 2 }],
    });
    const { items } = await crypto.client.listCoverage({ key });
    expect(items.map(({ complete, versions }) => [complete, versions[0]?.remaining])).toEqual([[false, 1]]);
  });

  /** Guarantees that names that look like SQL are names, ids of several columns work, and text and JSON hold base64. */
  test('odd names and places', { timeout: 60_000 }, async () => {
    const app = await application(kind);
    const key = await freshKey();
    const table = 'od"d; drop table x;--';
    const json = kind === 'sqlite' ? 'text' : 'jsonb';
    const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;
    await app.run(
      `create table ${quote(table)} (${quote('sh"op')} text not null, "nr" integer not null, ${quote("c'ol")} text, doc ${json}, primary key (${quote('sh"op')}, "nr"))`,
    );
    const rows = Array.from({ length: 60 }, (_, at) => ({ shop: at % 2 === 0 ? 'a' : "b'; --", nr: at }));
    const sealed = await crypto.encryptAll(
      key,
      rows.map(({ shop }, at) => ({ plaintext: Buffer.from('x'.repeat(at)), context: { shop } })),
    );
    for (const [at, { shop, nr }] of rows.entries()) {
      const text = Buffer.from(sealed[at] ?? []).toString('base64');
      await app.run(
        `insert into ${quote(table)} values (${[1, 2, 3, 4].map((hole) => app.hole(hole)).join(', ')})`,
        [shop, nr, text, JSON.stringify({ kept: [1], deep: { "it's": text } })],
      );
    }
    await crypto.client.rotateKey({ key });
    for (const place of [
      ['--column', "c'ol"],
      ['--column', 'doc', '--json-pointer', "/deep/it's"],
    ]) {
      const ran = await run(
        env,
        ...[
          ...['rewrap', '--json', '--key', key, '--database-url', app.url, '--table', table, ...place],
          ...[
            '--id-column',
            'sh"op',
            '--id-column',
            'nr',
            '--context-column',
            'shop=sh"op',
            '--page',
            '7',
            ...settled,
          ],
        ],
      );
      expect([ran.stderr, ran.code]).toEqual(['', 0]);
      expect(ran.json()).toMatchObject({
        rows: 60,
        complete: true,
        versions: [{ rewrapped: 60 }, { remaining: 60 }],
      });
    }
    const found = await app.all<Record<string, unknown>>(`select * from ${quote(table)} order by "nr"`);
    const texts = await crypto.decryptAll(
      found.flatMap((row) => {
        const doc = (typeof row['doc'] === 'string' ? JSON.parse(row['doc']) : row['doc']) as {
          kept: unknown;
          deep: Record<string, string>;
        };
        expect(doc.kept).toEqual([1]);
        const context = { shop: String(row['sh"op']) };
        return [row["c'ol"], doc.deep["it's"]].map((text) => ({
          ciphertext: Buffer.from(String(text), 'base64'),
          context,
        }));
      }),
    );
    expect(texts).toEqual(rows.flatMap((_, at) => Array(2).fill({ text: 'x'.repeat(at), version: 2 })));
  });

  /** Guarantees that what cannot be meant is refused before anything is read or changed, and says what to do. */
  test('refusals', { timeout: 60_000 }, async () => {
    const app = await application(kind);
    const key = await freshKey();
    await createPayments(app);
    await app.run('create table loose (id integer, card text)');
    const refused = async (change: (all: string[]) => string[]) => {
      const ran = await run(env, ...change(argumentsOf(app, key)));
      expect(ran.code).not.toBe(0);
      return ran.stderr;
    };
    const instead = (from: string, to: string) => (all: string[]) =>
      all.map((each) => (each === from ? to : each));
    expect(await refused(instead('payments', 'absent'))).toContain('no such table');
    expect(await refused(instead('card', 'absent'))).toContain('has no column absent');
    expect(await refused(instead('payments', 'loose'))).toContain('must be the primary key');
    expect(await refused(instead('row=id', 'row=absent'))).toContain('has no column absent');
    expect(await refused(instead(key, 'absent'))).toContain('key/not-found');
    expect(await refused((all) => all.filter((each) => each !== '--table' && each !== 'payments'))).toContain(
      'needs --table',
    );
    if (kind === 'postgres')
      expect(
        await refused(instead(app.url, app.url.replace('127.0.0.1', 'db.example') + '?sslmode=disable')),
      ).toContain('in clear');
    else {
      expect(await refused(instead(app.url, 'sqlite:/nowhere/app.db'))).toContain('there is no database');
      expect(await refused(() => ['rewrap', '--dry-run', 'file'])).toContain('--dry-run is an option of');
      expect(await refused(() => ['rewrap', '--key', 'payments', 'file'])).toContain('--key is an option of');
      expect(await refused(instead('table=payments', 'row=1'))).toContain('both give row');
      expect(await refused(instead(app.url, 'mysql://x@y/z'))).toContain('must be sqlite:PATH or postgres:');
      const secret = 'postgres://shop:hunter2@127.0.0.1/shop';
      const said = await refused(instead(app.url, secret));
      expect(said).toContain('holds a password');
      expect(said).not.toContain('hunter2');
    }
  });
});

/** Guarantees that a service that is killed under it is waited for, and that every row is moved once all the same. */
test('a service that is killed', { timeout: 120_000 }, async () => {
  const first = await startTestService();
  const { dataDir, url } = first;
  const { client, encryptAll, decryptAll } = cryptography(first);
  const app = await application('sqlite');
  await createPayments(app);
  await client.createKey({ name: 'killed' });
  const ids = Array.from({ length: 300 }, (_, id) => id);
  const values = ids.map((id) => ({ plaintext: Buffer.from(`secret ${id}`), context: contextOf(id) }));
  const sealed = await encryptAll('killed', values);
  await app.pay(ids.map((id) => [id, sealed[id] ?? new Uint8Array()]));
  await client.rotateKey({ key: 'killed' });
  const token = join(dataDir, 'bootstrap-token');
  const ending = run(
    { ...env, STATHERA_URL: url, STATHERA_TOKEN_FILE: token },
    ...argumentsOf(app, 'killed', ['--page', '20', '--rate', '200']),
  );
  await vi.waitFor(async () => expect((await payments(app)).some(({ changed }) => changed > 0)).toBe(true), {
    timeout: 60_000,
    interval: 5,
  });
  await first.kill();
  const second = await startTestService({ dataDir, env: { STATHERA_LISTEN: new URL(url).host } });
  onTestFinished(async () => {
    await second.dispose();
    await removeDirectory(dataDir);
  });
  const ended = await ending;
  expect([ended.code, ended.stderr]).toEqual([0, '']);
  const rows = await payments(app);
  expect(rows.map(({ changed }) => changed)).toEqual(Array(300).fill(1));
  const opened = await decryptAll(
    rows.map(({ id, card }) => ({ ciphertext: card ?? Buffer.alloc(0), context: contextOf(id) })),
  );
  expect(opened).toEqual(ids.map((id) => ({ text: `secret ${id}`, version: 2 })));
});
