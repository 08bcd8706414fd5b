import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { makeKey, makeToken, member, plaintext, seal } from '../access/support.ts';
import { childEnvironment, freshDataDir, mainFile, removeDirectory, runMain } from '../support/data.ts';
import { startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';
import { startTestProxy } from '../support/proxy.ts';
import { startTestService } from '../support/service.ts';

const why = whyNoPostgres();
const copy = (env: Readonly<Record<string, string>>, ...args: string[]) =>
  runMain(['store', 'copy', ...args], env, { allowFailure: true });

describe.skipIf(why !== undefined)(`from SQLite to PostgreSQL${why === undefined ? '' : ` (${why})`}`, () => {
  let server: TestPostgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.remove());

  async function place() {
    const dataDir = await freshDataDir();
    onTestFinished(() => removeDirectory(dataDir));
    const url = await server.createDatabase();
    const tables = () =>
      server.query('select 1 from pg_tables where schemaname = $$public$$', new URL(url).pathname.slice(1));
    const rows = (table: string) => server.query(`select 1 from ${table}`, new URL(url).pathname.slice(1));
    return { dataDir, tables, rows, env: { STATHERA_DATA_DIR: dataDir, STATHERA_DATABASE_URL: url } };
  }

  /**
   * Guarantees that a service goes on over PostgreSQL with what it had over SQLite: keys of every kind, states, tokens,
   * counts of uses, what was revoked, and one log, whose heads from before are found; that nothing is done while a
   * service runs, nor twice, nor into a database that has something.
   */
  test('a service moves', { timeout: 240_000 }, async () => {
    const { dataDir, env, tables, rows } = await place();
    const service = await startTestService({ dataDir });
    onTestFinished(() => service.kill());
    await makeKey(service, 'key');
    const old = await seal(service, 'key');
    expect((await service.call('POST', '/v1/keys/key/rotate', {})).status).toBe(200);
    await makeKey(service, 'off');
    await service.call('PATCH', '/v1/keys/off', { state: 'disabled', description: 'a\u0000ä' });
    const message = plaintext;
    for (const algorithm of ['hmac-sha-256', 'ecdsa-p256', 'ml-dsa-65', 'x-wing'])
      expect((await service.call('POST', '/v1/keys', { name: algorithm, algorithm })).status).toBe(201);
    const signed = member(await service.call('POST', '/v1/keys/ml-dsa-65/sign', { message }), 'signature');
    const kept = await makeToken(service, { scopes: ['keys:decrypt'] });
    const revoked = await makeToken(service, { scopes: ['keys:decrypt'] });
    await service.call('DELETE', `/v1/access/tokens/${revoked.id}`);
    const refused = await copy(env, '--yes');
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('a service runs on it')]);
    await service.stop();
    const verified = await runMain(['audit', 'verify'], { STATHERA_DATA_DIR: dataDir });
    const head = /^head (\S+)$/m.exec(verified.stdout)?.[1] ?? '';

    const shown = await copy(env);
    expect(shown.stdout).toMatch(/^keys +6$/m);
    expect(shown.stdout).toContain('nothing was done');
    expect(await tables()).toEqual([]);
    const proxy = await startTestProxy(server.port);
    onTestFinished(() => proxy.close());
    const through = {
      ...env,
      STATHERA_DATABASE_URL: env.STATHERA_DATABASE_URL.replace(`:${server.port}/`, `:${proxy.port}/`),
    };
    const killed = spawn(process.execPath, [mainFile, 'store', 'copy', '--yes'], {
      env: childEnvironment(through),
    });
    proxy.onceSent('insert into "key_versions"', () => void killed.kill('SIGKILL'));
    let said = '';
    killed.stderr.on('data', (chunk) => (said += String(chunk)));
    const [, signal] = await once(killed, 'close');
    expect(signal, said).toBe('SIGKILL');
    expect(await rows('keys')).toEqual([]);

    const done = await copy(env, '--yes');
    expect([done.code, done.stderr]).toEqual([0, expect.stringMatching(/^keys: 6$/m)]);
    expect(existsSync(join(dataDir, 'stathera.db'))).toBe(false);
    expect(existsSync(join(dataDir, 'stathera.db.copied'))).toBe(true);
    expect((await copy(env, '--yes')).stderr).toContain('there is no database at');
    const twice = await copy(env, '--yes', '--from', join(dataDir, 'stathera.db.copied'));
    expect(twice.stderr).toContain('the PostgreSQL database is not empty');

    const next = await startTestService({ dataDir, env });
    onTestFinished(() => next.kill());
    const opens = (token: string) => next.call('POST', '/v1/decrypt', { ciphertext: old }, { token });
    expect((await opens(kept.secret)).body).toMatchObject({ plaintext });
    expect((await opens(revoked.secret)).status).toBe(401);
    expect((await next.call('GET', '/v1/keys/key')).body).toMatchObject({ currentVersion: 2 });
    const { body: off } = await next.call('GET', '/v1/keys/off');
    expect(off).toMatchObject({ state: 'disabled', description: 'a\u0000ä' });
    const versions = (await next.call('GET', '/v1/keys/key/versions')).body['items'];
    expect(versions).toMatchObject([{ version: 2 }, { version: 1, usesReserved: 1 }]);
    const checked = await next.call('POST', '/v1/keys/ml-dsa-65/verify', { message, signature: signed });
    expect(checked.status, checked.text).toBe(200);
    await seal(next, 'key');
    await makeKey(next, 'later');
    const events = (await rows('events')).length;
    expect(events).toBeGreaterThan(0);
    // Its event has a number that none of before has.
    const rotated = await next.call('POST', '/v1/keys/key/rotate', {});
    expect(rotated.status, rotated.text).toBe(200);
    expect((await rows('events')).length).toBeGreaterThan(events);
    const records = (await next.call('GET', '/v1/audit/records?action=keys.create&limit=100')).body['items'];
    expect(records).toHaveLength(7);
    await next.stop();
    const after = await runMain(['audit', 'verify', '--with-token', '--expect', head], env);
    expect(after.stdout).toMatch(/^ok$/m);
  });

  /** Guarantees that a row which somebody altered is no longer one after the copy: nothing is copied, and the source stays. */
  test('a row was altered', async () => {
    const { dataDir, env, rows } = await place();
    const database = new Database(join(dataDir, 'stathera.db'));
    database.prepare(`update tokens set scopes = '["keys:admin"]'`).run();
    database.close();
    const refused = await copy(env, '--yes');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('stathera: ');
    expect(existsSync(join(dataDir, 'stathera.db'))).toBe(true);
    expect(await rows('namespaces')).toEqual([]);
  });

  /** Guarantees that what to copy to must be named. */
  test('without a PostgreSQL', async () => {
    const refused = await copy({ STATHERA_DATA_DIR: '/nowhere' });
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('STATHERA_DATABASE_URL')]);
  });
});
