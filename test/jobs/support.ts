import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, onTestFinished } from 'vitest';
import { parseDatabaseUrl } from '../../src/core/database-url.ts';
import { newId, serviceNamespaceId } from '../../src/core/ids.ts';
import { migrate } from '../../src/store/migrations.ts';
import { openPostgresStore } from '../../src/store/postgres.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store, StoreTransaction } from '../../src/store/store.ts';
import { postgresSettings, startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';

/** A database of one test, which any number of processes may open. */
export interface Place {
  readonly url: string;
  /** Gone when the test ends. */
  connect(): Promise<Store>;
}

/** @param url as in the settings */
export async function openStore(url: string): Promise<Store> {
  const parsed = parseDatabaseUrl(url);
  if (parsed && 'file' in parsed) return openSqliteStore({ file: parsed.file, busyMilliseconds: 30_000 });
  return await openPostgresStore(postgresSettings(url));
}

async function place(url: string): Promise<Place> {
  const connect = async () => {
    const store = await openStore(url);
    onTestFinished(() => store.close());
    return store;
  };
  const store = await openStore(url);
  await migrate(store.db, store.dialect, 1);
  await store.close();
  return { url, connect };
}

/** The same tests over each database. @param tests gets what makes a new, migrated one */
export function overEachDatabase(tests: (open: () => Promise<Place>) => void): void {
  describe('over SQLite', () => {
    tests(async () => {
      const directory = await mkdtemp(join(tmpdir(), 'stathera-jobs-'));
      onTestFinished(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }));
      return await place(`sqlite:${join(directory, 'stathera.db')}`);
    });
  });
  const why = whyNoPostgres();
  describe.skipIf(why !== undefined)(`over PostgreSQL${why === undefined ? '' : ` (${why})`}`, () => {
    let server: TestPostgres;
    beforeAll(async () => {
      server = await startPostgres();
    });
    afterAll(() => server.remove());
    tests(async () => await place(`${await server.createDatabase()}?sslmode=disable`));
  });
}

/** A clock that stands until it is moved; its wall clock may step. */
export function handClock() {
  let monotonic = 1_000;
  let wall = 1_700_000_000_000;
  return {
    now: () => wall,
    monotonic: () => monotonic,
    pass(milliseconds: number) {
      monotonic += milliseconds;
      wall += milliseconds;
    },
    step(milliseconds: number) {
      wall += milliseconds;
    },
  };
}

/** An effect that can be counted. */
export async function leaveMark(tx: StoreTransaction, label: string): Promise<void> {
  await tx
    .insertInto('roots')
    .values({ id: newId(), namespace_id: serviceNamespaceId, token_label: label, created_at: 1 })
    .execute();
}

/** The labels of all marks, in the order they were made by each process. */
export async function marks(store: Store): Promise<string[]> {
  const found = await store.db.selectFrom('roots').select('token_label').orderBy('id').execute();
  return found.map(({ token_label }) => token_label);
}

/** Waits for what must come about. */
export async function until(what: () => Promise<boolean> | boolean, milliseconds = 60_000): Promise<void> {
  for (const deadline = performance.now() + milliseconds; !(await what()); ) {
    if (performance.now() > deadline) throw new Error('it does not come about');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export interface Child {
  readonly process: ChildProcess;
  /** The lines it said so far. */
  readonly said: string[];
  send(line: string): void;
  signal(name: NodeJS.Signals): void;
  kill(): Promise<void>;
}

/** A process of ./child.ts, gone when the test ends. */
export function startChild(...args: readonly string[]): Child {
  const file = fileURLToPath(new URL('child.ts', import.meta.url));
  const child = spawn(process.execPath, [file, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
  });
  const ended = once(child, 'exit');
  const said: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => said.push(line));
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  onTestFinished(kill);
  return {
    process: child,
    said,
    send: (line) => void child.stdin.write(`${line}\n`),
    signal: (name) => void child.kill(name),
    kill,
  };
}
