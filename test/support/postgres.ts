import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import type { PostgresSettings } from '../../src/store/postgres-connections.ts';

/** A PostgreSQL of its own, with the programs of the system. */
export interface TestPostgres {
  readonly port: number;
  /** Where its configuration is. */
  readonly data: string;
  /** The user whose files it takes, where the tests run as root. */
  readonly uid: number;
  /** A new, empty database's URL, without TLS, for a user who owns it and is no superuser. */
  createDatabase(): Promise<string>;
  /** As the superuser. */
  query<Row extends pg.QueryResultRow>(text: string, database?: string): Promise<Row[]>;
  /** SIGKILL to all of its processes, as a power cut would. */
  kill(): Promise<void>;
  /** Starts again what was killed. @param settings of the server, `name=value` */
  start(settings?: readonly string[]): Promise<void>;
  /** SIGSTOP and SIGCONT to all of its processes: a machine that stands still. */
  freeze(): void;
  thaw(): void;
  /** A streaming standby of it, which calls itself `name`. `pg_promote()` makes it a primary. */
  startStandby(name: string): Promise<TestPostgres>;
  /** Ends it and removes its data. */
  remove(): Promise<void>;
  /** The same, for who cannot wait for a promise. */
  removeNow(): void;
}

/** The folder of PostgreSQL's newest programs; undefined where there are none. */
function programs(): string | undefined {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).map(Number) : [];
  return versions
    .toSorted((a, b) => b - a)
    .map((version) => join(root, String(version), 'bin'))
    .find((folder) => existsSync(join(folder, 'initdb')));
}

/** Why tests over PostgreSQL are left out; undefined where they run, and always under CI. */
export function whyNoPostgres(): string | undefined {
  if (programs() !== undefined || process.env['CI'] === 'true') return undefined;
  return 'needs PostgreSQL: apt-get install postgresql';
}

/** What a store is opened with, for a database of `createDatabase`. */
export function postgresSettings(url: string): PostgresSettings {
  const { hostname, port, pathname, username } = new URL(url);
  return { host: hostname, port: Number(port), database: pathname.slice(1), user: username, connections: 10 };
}

const ceilingMilliseconds = 30_000;
/** The server refuses to run as root: then it is nobody. */
const nobody = 65_534;

export async function startPostgres(settings: readonly string[] = []): Promise<TestPostgres> {
  const options = ['--auth=trust', '--encoding=UTF8', '--locale=C.UTF-8', '--username=super', '--no-sync'];
  const server = await startServer('initdb', options, settings);
  await server.query('create role stathera login');
  return server;
}

/** @param maker the program that makes the data directory, with its options */
async function startServer(
  maker: 'initdb' | 'pg_basebackup',
  options: readonly string[],
  settings: readonly string[],
): Promise<TestPostgres> {
  const bin = programs();
  if (bin === undefined) throw new Error('PostgreSQL is not installed: apt-get install postgresql');
  const root = process.getuid?.() === 0;
  const as = root ? { uid: nobody, gid: nobody } : {};
  const directory = mkdtempSync(join(tmpdir(), 'stathera-postgres-'));
  if (root) chownSync(directory, nobody, nobody);
  const data = join(directory, 'data');
  execFileSync(join(bin, maker), [...options, '-D', data], { ...as, cwd: directory, stdio: 'pipe' });
  const port = await freePort();
  let server: ChildProcess;
  let databases = 0;

  async function query<Row extends pg.QueryResultRow>(text: string, database = 'postgres'): Promise<Row[]> {
    const client = new pg.Client({ host: '127.0.0.1', port, user: 'super', database });
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query<Row>(text)).rows;
    } finally {
      await client.end();
    }
  }

  async function start(more: readonly string[] = []): Promise<void> {
    const all = ['listen_addresses=127.0.0.1', `port=${port}`, `unix_socket_directories=${directory}`];
    const given = [...all, 'max_connections=200', ...settings, ...more].flatMap((setting) => ['-c', setting]);
    server = spawn(join(bin as string, 'postgres'), ['-D', data, ...given], {
      ...as,
      cwd: directory,
      // With its parent's group it would get a terminal's interrupt twice.
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    server.stderr?.on('data', (chunk) => {
      said = `${said}${chunk}`.slice(-4_000);
    });
    for (const deadline = Date.now() + ceilingMilliseconds; ; ) {
      const answered = await query('select 1').catch(() => undefined);
      if (answered) return;
      if (server.exitCode !== null || Date.now() > deadline)
        throw new Error(`PostgreSQL does not start: ${said}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    server.kill(signal);
    await ended;
  }

  const clear = () => rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });

  const signalAll = (signal: NodeJS.Signals) => {
    for (const pid of pidsIn(data)) {
      try {
        process.kill(pid, signal);
      } catch (error) {
        // One that served a connection may have ended since.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
  };

  await start();
  return {
    port,
    data,
    uid: nobody,
    query,
    start,
    async createDatabase() {
      databases += 1;
      const name = `stathera_${process.pid}_${databases}`;
      await query(`create database ${name} owner stathera`);
      return `postgres://stathera@127.0.0.1:${port}/${name}`;
    },
    async kill() {
      const ended = once(server, 'exit');
      // Its children notice that it is gone, and end.
      server.kill('SIGKILL');
      await ended;
      await gone(join(data, 'postmaster.pid'));
    },
    freeze: () => signalAll('SIGSTOP'),
    thaw: () => signalAll('SIGCONT'),
    startStandby(name) {
      const from = ['-d', `host=127.0.0.1 port=${port} user=super application_name=${name}`];
      return startServer(
        'pg_basebackup',
        [...from, '-R', '-X', 'stream', '-c', 'fast', '--no-sync'],
        settings,
      );
    },
    async remove() {
      signalAll('SIGCONT');
      await end('SIGQUIT');
      clear();
    },
    removeNow() {
      const stop = ['stop', '--mode=immediate', '--silent', '-D', data];
      execFileSync(join(bin, 'pg_ctl'), stop, { ...as, cwd: directory, stdio: 'ignore' });
      clear();
    },
  };

  /** The next server wants the memory that the children of the last one still have. */
  async function gone(lockFile: string): Promise<void> {
    for (const deadline = Date.now() + ceilingMilliseconds; Date.now() < deadline; ) {
      const left = await query('select 1').then(
        () => true,
        () => pidsIn(data).length > 0,
      );
      if (!left) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    rmSync(lockFile, { force: true });
  }
}

/** The processes that work in the directory. */
function pidsIn(data: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`) === data;
      } catch {
        return false;
      }
    });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
