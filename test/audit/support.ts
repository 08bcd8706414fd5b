import { createHmac, createSecretKey } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import type { AuditLog, AuditQuery, AuditRecord } from '../../src/audit/audit.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { type AuditFiles, nodeFiles, type SegmentFile } from '../../src/audit/files.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import type { AuditLogOptions } from '../../src/audit/options.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import type { Prf } from '../../src/crypto/kdf.ts';
import { migrate } from '../../src/store/migrations.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store, StoreTransaction } from '../../src/store/store.ts';

const auditKey = createSecretKey(Buffer.alloc(32, 7));

/** HMAC-SHA-256 as the HSM gives it, under a fixed key. */
export const mac: Prf = async (data) => createHmac('sha256', auditKey).update(data).digest();

/** A data directory with a database and a place for the log, gone with the test. */
export interface Place {
  readonly root: string;
  readonly audit: string;
  readonly store: Store;
  /** Opens the log; closed with the test. */
  open(options?: Partial<AuditLogOptions>): Promise<AuditLog>;
  verify(options?: Partial<Parameters<typeof verifyAudit>[0]>): ReturnType<typeof verifyAudit>;
  /** What a crash at this moment would leave on the disk. */
  snapshot(): string;
}

export function scratchDirectory(): string {
  const root = mkdtempSync(join(tmpdir(), 'stathera-audit-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

/**
 * @param root a snapshot of another place, or nothing for a new one
 * @param store of another kind than SQLite; closed with the test
 */
export async function place(root: string = scratchDirectory(), given?: Store): Promise<Place> {
  const store = given ?? openSqliteStore({ file: join(root, 'stathera.db') });
  await migrate(store.db, store.dialect, 1);
  const audit = join(root, 'audit');
  const logs: AuditLog[] = [];
  onTestFinished(async () => {
    for (const log of logs) await log.close();
    await store.close();
  });
  return {
    root,
    audit,
    store,
    async open(options = {}) {
      const limits = { stallMilliseconds: 10_000, ...options.limits };
      const log = await openAuditLog({
        directory: audit,
        store,
        mac,
        clock: systemClock,
        ...options,
        limits,
      });
      logs.push(log);
      return log;
    },
    verify: (options = {}) => verifyAudit({ directory: audit, store, mac, ...options }),
    snapshot() {
      const copy = scratchDirectory();
      cpSync(root, copy, { recursive: true });
      return copy;
    },
  };
}

export const namespaceId = '0190a0c0-0000-7000-8000-000000000001';

export function entry(values: Partial<AuditEntry> = {}): AuditEntry {
  return {
    id: newId(),
    time: Date.now(),
    namespaceId,
    requestId: newId(),
    principal: { kind: 'token', id: '0190a0c0-0000-7000-8000-0000000000aa', name: 'app' },
    source: '127.0.0.1',
    action: 'envelope.encrypt',
    target: { kind: 'key', id: '0190a0c0-0000-7000-8000-0000000000bb', name: 'orders', version: 1 },
    outcome: 'allowed',
    ...values,
  };
}

/** Appends `count` entries at once. @returns their ids */
export async function appendMany(log: AuditLog, count: number): Promise<string[]> {
  const entries = Array.from({ length: count }, () => entry());
  await Promise.all(entries.map((one) => log.append(one)));
  return entries.map(({ id }) => id);
}

/** Every record a query finds, page after page. */
export async function allRecords(log: AuditLog, query: Partial<AuditQuery> = {}): Promise<AuditRecord[]> {
  const found: AuditRecord[] = [];
  let cursor: string | undefined;
  do {
    const page = await log.records({ namespaceId, limit: 1000, ...query, cursor });
    found.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return found;
}

/** A change of the database that can be seen: a row of `roots` with the entry's id. */
export function insertRoot(id: string) {
  return async (tx: StoreTransaction): Promise<string> => {
    const row = { id, namespace_id: namespaceId, token_label: 'test', created_at: 1 };
    await tx.insertInto('roots').values(row).execute();
    return id;
  };
}

export async function rootIds(store: Store): Promise<string[]> {
  const rows = await store.db.selectFrom('roots').select('id').orderBy('id').execute();
  return rows.map(({ id }) => id);
}

export class SystemError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

type Step = 'create' | 'append' | 'truncate' | 'isAt';

/**
 * The real file system with `at` called before and after each step; what it throws is what the step rejects
 * with: before, nothing is persisted; after, all of it is, though it looks failed.
 */
export function hookedFiles(at: (step: Step, when: 'before' | 'after') => void | Promise<void>): AuditFiles {
  const hooked = (file: SegmentFile): SegmentFile => ({
    append: (bytes) => around('append', () => file.append(bytes)),
    truncate: (bytes) => around('truncate', () => file.truncate(bytes)),
    isAt: (path) => around('isAt', () => file.isAt(path)),
    close: () => file.close(),
  });
  async function around<T>(step: Step, work: () => Promise<T>): Promise<T> {
    await at(step, 'before');
    const result = await work();
    await at(step, 'after');
    return result;
  }
  return {
    ...nodeFiles,
    create: async (directory, path, content) =>
      hooked(await around('create', () => nodeFiles.create(directory, path, content))),
    open: async (path) => hooked(await nodeFiles.open(path)),
  };
}

/** The store with `at` called around its transactions. */
export function hookedStore(
  store: Store,
  at: (when: 'before' | 'at-commit' | 'after') => void | Promise<void>,
): Store {
  return {
    ...store,
    async transaction(work) {
      await at('before');
      const result = await store.transaction(async (tx) => {
        const done = await work(tx);
        await at('at-commit');
        return done;
      });
      await at('after');
      return result;
    },
  };
}

export async function until(condition: () => boolean | Promise<boolean>, milliseconds = 5000): Promise<void> {
  const end = performance.now() + milliseconds;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not so after ${milliseconds} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A place where a step waits while the gate is shut. */
export function gate() {
  let wait: Promise<void> = Promise.resolve();
  let release: () => void = () => undefined;
  return {
    pass: () => wait,
    shut() {
      wait = new Promise((resolve) => {
        release = resolve;
      });
    },
    open: () => release(),
  };
}

/** A clock whose pauses end when the test says so. */
export function manualClock(): Clock & { advance(milliseconds: number): void } {
  let elapsed = 0;
  return {
    now: () => Date.now(),
    monotonic: () => elapsed,
    advance(milliseconds) {
      elapsed += milliseconds;
    },
  };
}

/** Everything acknowledged is found once, in a log that verifies. */
export async function expectWhole(here: Place, acknowledged: readonly string[]): Promise<void> {
  const log = await here.open();
  const found = (await allRecords(log)).map(({ id }) => id);
  expect(new Set(found).size).toBe(found.length);
  // What the log says of itself when it tries again unasked.
  const own = await allRecords(log, { namespaceId: '00000000-0000-0000-0000-000000000000' });
  const there = new Set(found);
  expect(acknowledged.filter((id) => !there.has(id))).toEqual([]);
  expect(await here.verify()).toMatchObject({ ok: true, problems: [], records: found.length + own.length });
}
