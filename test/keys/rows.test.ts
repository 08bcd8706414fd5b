import { spawn } from 'node:child_process';
import { once } from 'node:events';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ServiceError } from '../../src/core/errors.ts';
import { base64, driver } from '../envelope/support.ts';
import { childEnvironment, mainFile, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import {
  bit,
  type Edit,
  kekColumns,
  kekRefused,
  keyColumns,
  next,
  other,
  to,
  tokenColumns,
  usageColumns,
  type Value,
  versionColumns,
  versionRefused,
  wrappingColumns,
} from './edits.ts';
import { copyOf, inside } from './support.ts';

// A database edited behind the service's back: every column of every authenticated table, one at a time.
// Each gets a key, token or namespace of its own, so that one service shows what each edit leads to.

interface Subject {
  readonly name: string;
  readonly id: string;
  readonly ciphertext: Buffer;
  readonly token?: string;
}

let dataDir: string;
let copy: string;
const directories: string[] = [];
let service: TestService;
let calls: ReturnType<typeof driver>;
const subjects = new Map<string, Subject>();
const tokens = new Map<string, string>();
const leaked = /mac|row|sql|altered|authenticat|kek|column/i;

const plaintextOf = (name: string) => Buffer.from(`the plaintext of ${name}`);

async function makeSubject(name: string, token?: string): Promise<Subject> {
  const options = token === undefined ? {} : { token };
  const { id } = await calls.createKey(name, {}, options);
  const ciphertext = await calls.encrypt(name, plaintextOf(name), {}, options);
  const subject = { name, id, ciphertext, ...(token !== undefined && { token }) };
  subjects.set(name, subject);
  return subject;
}

function subjectOf(name: string): Subject {
  const subject = subjects.get(name);
  if (!subject) throw new Error(`no subject ${name}`);
  return subject;
}

/** Edits one column of the rows that `where` finds; foreign keys are not looked at, as an intruder would not. */
function edit(
  database: Database.Database,
  table: string,
  column: string,
  where: string,
  id: string,
  by: Edit,
) {
  const row = database.prepare(`select ${column} as value from ${table} where ${where} = ?`).get(id) as
    | { value: Value }
    | undefined;
  if (!row) throw new Error(`nothing to edit in ${table}`);
  const value = by(row.value);
  const { changes } = database.prepare(`update ${table} set ${column} = ? where ${where} = ?`).run(value, id);
  if (changes !== 1) throw new Error(`edited ${changes} rows of ${table}`);
}

async function prepare(): Promise<void> {
  for (const column of Object.keys(keyColumns)) await makeSubject(`keys.${column}`);
  for (const column of Object.keys(versionColumns)) await makeSubject(`key_versions.${column}`);
  for (const column of Object.keys(usageColumns)) await makeSubject(`key_usage.${column}`);
  for (const name of ['blob-here', 'blob-there', 'no-key', 'no-version', 'no-usage']) await makeSubject(name);
  await makeSubject('swapped');
  await calls.must('POST', '/v1/keys/swapped/rotate', {});
  await calls.must('PATCH', '/v1/keys/keys.state', { state: 'disabled' });
  await calls.must('PATCH', '/v1/keys/key_versions.state/versions/1', { state: 'disabled' });

  const scopes = ['keys:encrypt', 'keys:decrypt', 'keys:admin'];
  for (const column of [...Object.keys(tokenColumns), 'deleted']) {
    const expiresAt = '2100-01-01T00:00:00Z';
    const body = { name: `t.${column}`, scopes: ['keys:encrypt'], keys: ['keys*'], expiresAt };
    const made = await calls.must('POST', '/v1/access/tokens', body);
    tokens.set(column, String(made['secret']));
    ids.set(`t.${column}`, String(made['id']));
    if (column === 'revoked_at') await calls.must('DELETE', `/v1/access/tokens/${String(made['id'])}`);
  }
  for (const name of [
    ...Object.keys(kekColumns).map((column) => `system_keys.${column}`),
    ...Object.keys(wrappingColumns).map((column) => `system_key_wrappings.${column}`),
    ...['no-kek', 'no-wrapping'],
  ]) {
    const namespace = await calls.must('POST', '/v1/access/namespaces', { name });
    ids.set(name, String(namespace['id']));
    await makeSubject(name, await calls.createToken({ scopes, namespace: name }));
  }
}

const ids = new Map<string, string>();
const idOf = (name: string) => ids.get(name) ?? '';

function tamper(file: string): void {
  const database = new Database(file);
  try {
    database.pragma('foreign_keys = OFF');
    for (const [column, { edit: by }] of Object.entries(usageColumns)) {
      const { id } = subjectOf(`key_usage.${column}`);
      const find = 'select id from key_versions where key_id = ?';
      const version = database.prepare(find).get(id) as { id: string };
      edit(database, 'key_usage', column, 'version_id', version.id, by);
    }
    for (const [column, { edit: by }] of Object.entries(versionColumns)) {
      edit(
        database,
        'key_versions',
        column,
        'key_id',
        subjectOf(`key_versions.${column}`).id,
        column === 'id' ? to('019300d4-0000-7000-8000-000000000001') : by,
      );
    }
    for (const [column, { edit: by }] of Object.entries(keyColumns)) {
      edit(database, 'keys', column, 'id', subjectOf(`keys.${column}`).id, by);
    }
    for (const [column, { edit: by }] of Object.entries(tokenColumns)) {
      edit(database, 'tokens', column, 'id', idOf(`t.${column}`), by);
    }
    for (const [column, { edit: by }] of Object.entries(wrappingColumns)) {
      edit(
        database,
        'system_key_wrappings',
        column,
        'namespace_id',
        idOf(`system_key_wrappings.${column}`),
        by,
      );
    }
    for (const [column, { edit: by }] of Object.entries(kekColumns)) {
      edit(database, 'system_keys', column, 'namespace_id', idOf(`system_keys.${column}`), by);
    }
    moveAndDelete(database);
  } finally {
    database.close();
  }
}

function moveAndDelete(database: Database.Database): void {
  const blobOf = (name: string) =>
    (
      database.prepare('select blob from key_versions where key_id = ?').get(subjectOf(name).id) as {
        blob: Buffer;
      }
    ).blob;
  const [here, there] = [blobOf('blob-here'), blobOf('blob-there')];
  edit(database, 'key_versions', 'blob', 'key_id', subjectOf('blob-here').id, to(there));
  edit(database, 'key_versions', 'blob', 'key_id', subjectOf('blob-there').id, to(here));
  // Two version rows of one key in each other's place: all but their ordinals.
  const versions = database
    .prepare('select id, ordinal from key_versions where key_id = ? order by ordinal')
    .all(subjectOf('swapped').id) as { id: string; ordinal: number }[];
  const setOrdinal = database.prepare('update key_versions set ordinal = ? where id = ?');
  setOrdinal.run(99, versions[0]?.id);
  setOrdinal.run(1, versions[1]?.id);
  setOrdinal.run(2, versions[0]?.id);
  const remove = (table: string, where: string, id: string) => {
    const { changes } = database.prepare(`delete from ${table} where ${where} = ?`).run(id);
    if (changes !== 1) throw new Error(`deleted ${changes} rows of ${table}`);
  };
  const find = 'select id from key_versions where key_id = ?';
  const version = database.prepare(find).get(subjectOf('no-usage').id) as { id: string };
  remove('key_usage', 'version_id', version.id);
  remove('key_versions', 'key_id', subjectOf('no-version').id);
  remove('keys', 'id', subjectOf('no-key').id);
  remove('tokens', 'id', idOf('t.deleted'));
  remove('system_keys', 'namespace_id', idOf('no-kek'));
  remove('system_key_wrappings', 'namespace_id', idOf('no-wrapping'));
}

beforeAll(async () => {
  service = await startTestService();
  dataDir = service.dataDir;
  directories.push(dataDir);
  calls = driver({ ...service, call: (...parameters) => service.call(...parameters) });
  await prepare();
  await service.stop();
  copy = await copyOf(dataDir);
  directories.push(copy);
  tamper(`${copy}/stathera.db`);
  service = await startTestService({ dataDir: copy });
});
afterAll(async () => {
  await service.dispose();
  for (const directory of directories) await removeDirectory(directory);
});

/** The status of each call; a plaintext that is not the right one, or a text that tells why, ends the test. */
async function statuses(
  subject: Subject,
  requests: readonly (readonly [string, string, unknown?])[],
): Promise<string> {
  const seen: number[] = [];
  for (const [method, path, body] of requests) {
    const options = subject.token === undefined ? {} : { token: subject.token };
    const { status, body: answer } = await service.call(method, path, body, options);
    seen.push(status);
    if (path === '/v1/decrypt' && status === 200) {
      expect(answer['plaintext']).toBe(base64(plaintextOf(subject.name)));
    }
    if (status >= 500) expect(JSON.stringify([answer['title'], answer['detail']])).not.toMatch(leaked);
    if (status === 500) expect(answer['detail']).toBe('The request failed.');
  }
  return seen.join(' ');
}

const answersOf = (name: string) => {
  const subject = subjectOf(name);
  return statuses(subject, [
    ['GET', `/v1/keys/${name}`],
    ['GET', `/v1/keys/${subject.id}`],
    ['POST', `/v1/keys/${name}/encrypt`, { plaintext: '' }],
    ['POST', '/v1/decrypt', { ciphertext: base64(subject.ciphertext) }],
    ['GET', `/v1/keys/${name}/versions`],
  ]);
};

describe('an edited column is refused', () => {
  const columns = { keys: keyColumns, key_versions: versionColumns, key_usage: usageColumns };
  const cases = Object.entries(columns).flatMap(([table, edits]) =>
    Object.entries(edits).map(([column, { answers }]) => [`${table}.${column}`, answers] as const),
  );

  /** Guarantees that no column of a key, a version or a count can be edited and still be used; `last_used_at` is informational. */
  test.each(cases)('%s', async (name, answers) => {
    expect(await answersOf(name)).toBe(answers);
  });

  /** Guarantees that a token whose row was edited is nobody's: no scope, key, time or revocation can be edited. */
  test.each(Object.entries(tokenColumns))('tokens.%s', async (column, { status }) => {
    const answer = await service.call('GET', '/v1/keys', undefined, { token: tokens.get(column) ?? '' });
    expect(answer.status).toBe(status);
  });

  const keks = Object.entries({ system_keys: kekColumns, system_key_wrappings: wrappingColumns }).flatMap(
    ([table, edits]) =>
      Object.entries(edits).map(([column, { answers }]) => [`${table}.${column}`, answers] as const),
  );

  /** Guarantees that a namespace whose KEK was edited makes, encrypts and decrypts nothing. */
  test.each(keks)('%s', async (name, answers) => {
    expect(await kekAnswers(name)).toBe(answers);
  });
});

const kekAnswers = (name: string) => {
  const subject = subjectOf(name);
  return statuses(subject, [
    ['POST', '/v1/keys', { name: 'new' }],
    ['POST', `/v1/keys/${name}/encrypt`, { plaintext: '' }],
    ['POST', '/v1/decrypt', { ciphertext: base64(subject.ciphertext) }],
  ]);
};

/** Guarantees that a wrapped key is not accepted in the place of another, nor one version in the place of another. */
test.each(['blob-here', 'blob-there', 'swapped'])('moved: %s', async (name) => {
  expect(await answersOf(name)).toBe(versionRefused);
});

/** Guarantees that what was deleted is missing and nothing stands in for it. */
test.each([
  ['no-key', '404 404 404 400 404'],
  ['no-version', '200 200 500 400 200'],
  ['no-usage', '200 200 500 200 500'],
])('deleted: %s', async (name, answers) => {
  expect(await answersOf(name)).toBe(answers);
});

/** Guarantees the same of tokens and KEKs. */
test('deleted tokens and KEKs', async () => {
  const answer = await service.call('GET', '/v1/keys', undefined, { token: tokens.get('deleted') ?? '' });
  expect(answer.status).toBe(401);
  expect(await kekAnswers('no-kek')).toBe(kekRefused);
  expect(await kekAnswers('no-wrapping')).toBe('503 503 503');
});

/** Guarantees that a list shows no edited row: it is refused whole. */
test('lists', async () => {
  for (const path of ['/v1/keys', '/v1/access/tokens'])
    expect((await service.call('GET', path)).status, path).toBe(500);
});

/** Guarantees that an edited namespace is not listed. */
test('namespaces', async () => {
  const database = new Database(`${copy}/stathera.db`);
  const columns: Record<string, Edit> = {
    ...{ id: other, namespace_id: other, name: to('renamed'), region: to('elsewhere') },
    ...{ created_at: next, revision: next, mac: bit },
  };
  try {
    database.pragma('foreign_keys = OFF');
    expect((await service.call('GET', '/v1/access/namespaces')).status).toBe(200);
    const { id } = database.prepare("select id from namespaces where name = 'no-kek'").get() as {
      id: string;
    };
    const row = database.prepare('select * from namespaces where id = ?').get(id) as Record<string, Value>;
    const replace = database.prepare(
      'update namespaces set id = :id, namespace_id = :namespace_id, name = :name, region = :region, created_at = :created_at, revision = :revision, mac = :mac where rowid = :rowid',
    );
    const { rowid } = database.prepare('select rowid from namespaces where id = ?').get(id) as {
      rowid: number;
    };
    for (const [column, by] of Object.entries(columns)) {
      replace.run({ ...row, [column]: by(row[column] ?? null), rowid });
      expect((await service.call('GET', '/v1/access/namespaces')).status, column).toBe(500);
      replace.run({ ...row, rowid });
    }
    expect((await service.call('GET', '/v1/access/namespaces')).status).toBe(200);
  } finally {
    database.close();
  }
});

/** Guarantees that the service does not start on an edited record or audit key, whichever column, and says so. */
test('system keys of the service', async () => {
  const attempts: Record<string, string> = {};
  await inside(dataDir, async ({ reopen }) => {
    const database = new Database(`${dataDir}/stathera.db`);
    try {
      database.pragma('foreign_keys = OFF');
      const edits = { system_keys: kekColumns, system_key_wrappings: wrappingColumns };
      for (const purpose of ['record', 'audit']) {
        const key = 'select id from system_keys where purpose = ?';
        const { id } = database.prepare(key).get(purpose) as { id: string };
        for (const [table, columns] of Object.entries(edits)) {
          const named = table === 'system_keys' ? 'id' : 'system_key_id';
          const { rowid } = database.prepare(`select rowid from ${table} where ${named} = ?`).get(id) as {
            rowid: number;
          };
          for (const [column, { edit: by }] of Object.entries(columns)) {
            const read = `select ${column} as value from ${table} where rowid = ?`;
            const { value } = database.prepare(read).get(rowid) as { value: Value };
            const write = database.prepare(`update ${table} set ${column} = ? where rowid = ?`);
            write.run(column === 'purpose' ? 'kek' : by(value), rowid);
            attempts[`${purpose} ${table}.${column}`] = await reopen().then(
              () => 'accepted',
              ({ code, detail }: ServiceError) => `${code} ${detail}`,
            );
            write.run(value, rowid);
          }
        }
      }
      await reopen();
    } finally {
      database.close();
    }
  });
  expect(Object.keys(attempts)).toHaveLength(26);
  for (const [what, answer] of Object.entries(attempts)) {
    const lost = /purpose|\.state|system_keys\.namespace_id/.test(what);
    const [purpose] = what.split(' ');
    const foreign = /wrappings\.(?:system_key_id|root_id)|system_keys\.id/.test(what);
    if (lost) expect(answer, what).toMatch(new RegExp(`^store/unavailable .* lost its ${purpose} key`));
    else if (foreign) expect(answer, what).toMatch(/^hsm\/unavailable .* is not enrolled/);
    else expect(answer, what).toMatch(/^internal .* failed its authentication/);
  }
});

/** Guarantees that `stathera serve` ends with a text an operator understands when its record key was edited. */
test('an edited record key at start', async () => {
  const broken = await copyOf(dataDir);
  try {
    const database = new Database(`${broken}/stathera.db`);
    const { id } = database.prepare("select id from system_keys where purpose = 'record'").get() as {
      id: string;
    };
    edit(database, 'system_key_wrappings', 'blob', 'system_key_id', id, bit);
    database.close();
    const child = spawn(process.execPath, [mainFile, 'serve'], {
      env: childEnvironment({ STATHERA_LISTEN: '127.0.0.1:0', STATHERA_DATA_DIR: broken }),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => void (output.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => void (output.stderr += chunk.toString()));
    await once(child, 'close');
    expect(child.exitCode).toBe(1);
    expect(output.stdout).not.toContain('listening');
    expect(output.stderr).toMatch(/record failed its authentication/);
    expect(output.stderr).not.toMatch(/\n\s+at /);
  } finally {
    await removeDirectory(broken);
  }
});
