import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { isServiceError } from '../../src/core/errors.ts';
import { openPostgresStore } from '../../src/store/postgres.ts';
import type { PostgresSettings } from '../../src/store/postgres-connections.ts';
import type { Store } from '../../src/store/store.ts';
import { emptyDirectory, removeDirectory, runMain } from '../support/data.ts';
import { postgresSettings, startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';
import { startTestService } from '../support/service.ts';

const why = whyNoPostgres();
const password = 'correct-horse-7';

describe.skipIf(why !== undefined)(`PostgreSQL with TLS${why === undefined ? '' : ` (${why})`}`, () => {
  let server: TestPostgres;
  let directory: string;
  let settings: PostgresSettings;
  const authority = (name: string) => ({ ca: () => readFileSync(join(directory, `${name}.crt`), 'utf8') });

  /** A certificate that is its own authority. */
  function certificate(name: string, host: string): void {
    const files = ['-keyout', join(directory, `${name}.key`), '-out', join(directory, `${name}.crt`)];
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    const subject = ['-subj', '/CN=stathera', '-addext', `subjectAltName=${host}`];
    execFileSync('openssl', ['req', ...kind, ...files, ...subject], { stdio: 'pipe' });
  }

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'stathera-postgres-tls-'));
    server = await startPostgres();
    certificate('right', 'IP:127.0.0.1');
    certificate('elsewhere', 'DNS:db.example');
    await server.query(`create role guarded login password '${password}'`);
    settings = postgresSettings(await server.createDatabase());
    await server.query(`alter database ${settings.database} owner to guarded`);
    settings = { ...settings, user: 'guarded', password: () => password };
    writeFileSync(
      join(server.data, 'pg_hba.conf'),
      'hostssl all guarded 127.0.0.1/32 scram-sha-256\nlocal all guarded scram-sha-256\n' +
        'host all super,stathera 127.0.0.1/32 trust\n',
    );
    await serve('right');
  });
  afterAll(async () => {
    await server.remove();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Gives the server a certificate. */
  async function serve(name: string): Promise<void> {
    const key = join(server.data, 'server.key');
    writeFileSync(key, readFileSync(join(directory, `${name}.key`)));
    writeFileSync(join(server.data, 'server.crt'), readFileSync(join(directory, `${name}.crt`)));
    chmodSync(key, 0o600);
    if (process.getuid?.() === 0) {
      chownSync(key, server.uid, server.uid);
      chownSync(join(server.data, 'server.crt'), server.uid, server.uid);
    }
    await server.query('alter system set ssl = on');
    await server.query('select pg_reload_conf()');
    await delay(300);
  }

  async function opened(changes: Partial<PostgresSettings> = {}): Promise<Store> {
    const store = await openPostgresStore({ ...settings, ...changes });
    onTestFinished(() => store.close());
    return store;
  }

  async function refusalOf(changes: Partial<PostgresSettings>): Promise<string> {
    const error: unknown = await opened(changes).catch((thrown: unknown) => thrown);
    if (!isServiceError(error, 'store/unavailable')) throw new Error('not refused', { cause: error });
    expect(JSON.stringify([error.message, error.stack, String(error.cause)])).not.toContain(password);
    return error.detail;
  }

  /** Guarantees that the connection is encrypted, that the password is right, and that both are checked at every connection. */
  test('a trusted certificate', async () => {
    const store = await opened({ tls: authority('right') });
    const { rows } = await sql`select ssl from pg_stat_ssl where pid = pg_backend_pid()`.execute(store.db);
    expect(rows).toEqual([{ ssl: true }]);
  });

  /** Guarantees that a server that others vouch for, or one of another name, gets no password. */
  test('a certificate that is not trusted, or not for this host', async () => {
    expect(await refusalOf({ tls: {} })).toMatch(/self-signed/);
    expect(await refusalOf({ tls: authority('elsewhere') })).toMatch(/self-signed/);
    await serve('elsewhere');
    onTestFinished(() => serve('right'));
    expect(await refusalOf({ tls: authority('elsewhere') })).toContain('its certificate is for another host');
  });

  /** Guarantees that a wrong password, and none, say so and not what was tried. */
  test('a wrong password', async () => {
    const tls = authority('right');
    expect(await refusalOf({ tls, password: () => `${password}-not` })).toContain('refuses the password');
    expect(await refusalOf({ password: () => password })).toContain('refuses the user');
  });

  /** Guarantees that a socket is spoken with in clear, that the password is taken from libpq's password file, and is shown nowhere. */
  test('a socket, and a password file as libpq has it', async () => {
    const dataDir = await emptyDirectory();
    onTestFinished(() => removeDirectory(dataDir));
    const socket = dirname(server.data);
    const passwords = join(directory, 'pgpass');
    const write = (given: string, mode = 0o600) => {
      writeFileSync(passwords, `elsewhere:*:*:guarded:other\n${socket}:*:*:guarded:${given}\n`);
      chmodSync(passwords, mode);
    };
    const at = `${encodeURIComponent(socket)}:${settings.port}`;
    const { database } = postgresSettings(await server.createDatabase());
    await server.query(`alter database ${database} owner to guarded`);
    const env = {
      STATHERA_DATA_DIR: dataDir,
      STATHERA_DATABASE_URL: `postgres://guarded@${at}/${database}`,
      PGPASSFILE: passwords,
    };
    write(password);
    await runMain(['init'], env);
    const service = await startTestService({ dataDir, env });
    onTestFinished(() => service.kill());
    expect((await service.call('POST', '/v1/random', { bytes: 16 })).status).toBe(200);
    const [shown] = await server.query<{ clients: string[] }>(
      `select array_agg(distinct client_addr::text) as clients from pg_stat_activity where usename = 'guarded'`,
    );
    expect(shown?.clients).toEqual([null]);
    const proc = `/proc/${service.pid}`;
    for (const place of ['cmdline', 'environ'])
      expect(readFileSync(join(proc, place), 'utf8')).not.toContain(password);
    // Connections that are ended are made anew, with the password that the file has then.
    await server.query(`alter role guarded password '${password}-next'`);
    write(`${password}-next`);
    onTestFinished(() => server.query(`alter role guarded password '${password}'`).then(() => undefined));
    await server.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'guarded'`);
    await vi.waitFor(
      async () => expect((await service.call('POST', '/v1/random', { bytes: 16 })).status).toBe(200),
      { timeout: 20_000, interval: 100 },
    );
    expect(service.stderr() + service.stdout()).not.toContain(password);
    expect(await service.stop()).toBe(0);
    // As libpq, it takes no file that others may read.
    write(`${password}-next`, 0o644);
    const begun = performance.now();
    const refused = await runMain(['init'], env, { allowFailure: true });
    // Not as long as the server would wait for the password: a minute.
    expect(performance.now() - begun).toBeLessThan(40_000);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('it wants a password')]);
    expect(refused.stderr).not.toContain(password);
  });

  /** Guarantees that the command takes all of it from its settings, the password from a file, and shows none of it. */
  test('by the settings of the command', async () => {
    const dataDir = await emptyDirectory();
    onTestFinished(() => removeDirectory(dataDir));
    const passwordFile = join(directory, 'password');
    writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
    const env = {
      STATHERA_DATA_DIR: dataDir,
      STATHERA_DATABASE_URL: `postgres://guarded@127.0.0.1:${settings.port}/${settings.database}?sslmode=verify-full`,
      STATHERA_DATABASE_PASSWORD_FILE: passwordFile,
      STATHERA_DATABASE_CA_FILE: join(directory, 'right.crt'),
    };
    const made = await runMain(['init'], env);
    expect(made.stdout).toContain('bootstrap token');
    writeFileSync(passwordFile, `${password}-not\n`);
    const refused = await runMain(['init'], env, { allowFailure: true });
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('STATHERA_DATABASE_PASSWORD_FILE');
    expect(refused.stderr + refused.stdout).not.toContain(password);
  });
});
