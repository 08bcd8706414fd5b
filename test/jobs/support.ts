import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac, createSecretKey } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, onTestFinished } from 'vitest';
import type { Caller } from '../../src/access/caller.ts';
import { createOperations } from '../../src/access/operations.ts';
import { type Scope, scopes } from '../../src/access/scopes.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { parseDatabaseUrl } from '../../src/core/database-url.ts';
import { newId, serviceNamespaceId } from '../../src/core/ids.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { createJobs } from '../../src/jobs/jobs.ts';
import type { AnyKind, Json } from '../../src/jobs/kinds.ts';
import type { RunnerLimits } from '../../src/jobs/runner.ts';
import { migrate } from '../../src/store/migrations.ts';
import { openPostgresStore } from '../../src/store/postgres.ts';
import { createRevision } from '../../src/store/revision.ts';
import { createRowAuthenticator } from '../../src/store/rows.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store, StoreTransaction } from '../../src/store/store.ts';
import { postgresSettings, startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';

const key = createSecretKey(Buffer.alloc(32, 9));
/** Under a key that every process of these tests has. */
const mac = async (data: Uint8Array): Promise<Uint8Array> => createHmac('sha256', key).update(data).digest();
export const rows = createRowAuthenticator(mac);

export const namespaceId = '0190a0c0-0000-7000-8000-000000000001';

export function callerWith(held: readonly Scope[] = scopes, namespace = namespaceId): Caller {
  const principal = { kind: 'token' as const, id: 'tester', name: 'tester', namespaceId: namespace };
  return {
    principal: { ...principal, scopes: new Set(held), keyPatterns: undefined },
    ...{ requestId: newId(), source: undefined, idempotency: undefined },
  };
}

/** Quick, for tests: a lease lasts a second. */
export const quick: Partial<RunnerLimits> = {
  ...{ leaseMilliseconds: 1_000, pollMilliseconds: 50, backoffMilliseconds: 20, closeMilliseconds: 1_000 },
};

/** One process's part in the jobs of a database. Closed by who opened it. */
export async function openJobs({
  store,
  directory,
  writer,
  kinds,
  limits = quick,
  clock = systemClock,
}: {
  store: Store;
  directory: string;
  writer: string;
  kinds: readonly AnyKind[];
  limits?: Partial<RunnerLimits>;
  clock?: Clock;
}) {
  const feed = await store.changes.follow();
  const revision = createRevision({ feed, clock, maxStaleMilliseconds: 1_000_000 });
  const sync = () => revision.sync();
  const audit = await openAuditLog({ directory, store, mac, clock, writer, sync });
  const confirm = async () => undefined;
  const operations = createOperations({ audit, store, clock, revision, confirm });
  const logged: { event: string; fields: object }[] = [];
  const log = (_level: string, event: string, fields: object) => void logged.push({ event, fields });
  const jobs = createJobs({
    store,
    rows,
    clock,
    operations,
    audit,
    kinds,
    limits,
    log,
    metrics: createMetrics(),
  });
  return {
    jobs,
    audit,
    logged,
    enqueue: (kind: string, input: Json, pieces: readonly Json[], caller = callerWith()) =>
      operations.run(caller, 'keys.create', undefined, (operation) =>
        jobs.enqueue(caller, operation, { kind, input, pieces }),
      ),
    async close() {
      await jobs.close();
      await audit.close();
      await revision.close();
    },
  };
}

/** A database of one test, which any number of processes may open. */
export interface Place {
  readonly url: string;
  /** For logs. */
  readonly directory: string;
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
  const directory = await mkdtemp(join(tmpdir(), 'stathera-jobs-logs-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }));
  return { url, directory, connect };
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
