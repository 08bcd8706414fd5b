import { join } from 'node:path';
import { expect } from 'vitest';
import { verifyAudit } from '../../../src/audit/verify.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { type AuditRecord, member, recordsOnDisk } from '../../access/support.ts';
import type { Answer, TestService } from '../../support/service.ts';

interface Sealed {
  readonly ciphertext: string;
  readonly plaintext: string;
  readonly key: string;
  readonly version: number;
}

interface KeyView {
  readonly id: string;
  readonly name: string;
  readonly currentVersion: number;
}

/** What a data directory was asked for and what it acknowledged, over all its crashes. */
export interface Ledger {
  readonly acknowledged: Set<string>;
  readonly sent: Set<string>;
  /** Names and the newest version that was acknowledged. */
  readonly keys: Map<string, number>;
  readonly tokens: Set<string>;
  readonly sealed: Sealed[];
}

export function newLedger(): Ledger {
  return { acknowledged: new Set(), sent: new Set(), keys: new Map(), tokens: new Set(), sealed: [] };
}

let requests = 0;

/** A request that has a name of its own in the log. @throws when no answer came, or it was not of success */
async function ask(service: TestService, ledger: Ledger, path: string, body: object): Promise<Answer> {
  requests += 1;
  const id = `asked-${requests}`;
  ledger.sent.add(id);
  const answer = await service.call('POST', path, body, { headers: { 'x-request-id': id } });
  expect([path, answer.status, answer.status < 300 ? '' : answer.text]).toEqual([path, answer.status, '']);
  ledger.acknowledged.add(id);
  return answer;
}

export async function createKey(service: TestService, ledger: Ledger): Promise<string> {
  const name = `key-${requests}`;
  await ask(service, ledger, '/v1/keys', { name });
  ledger.keys.set(name, 1);
  return name;
}

export async function rotate(service: TestService, ledger: Ledger, key: string): Promise<void> {
  const { body } = await ask(service, ledger, `/v1/keys/${key}/rotate`, {});
  ledger.keys.set(key, Number(body['currentVersion']));
}

/** Schedules the destruction of a key's first version, and waits until it is done. */
export async function destroy(service: TestService, ledger: Ledger, key: string): Promise<void> {
  await ask(service, ledger, `/v1/keys/${key}/destroy`, { versions: [1], windowSeconds: 1 });
  await becomes(service, key, 'destroyed');
}

/** Has the versions of a key retired that are not its current one, and waits until they are. */
export async function retire(service: TestService, ledger: Ledger, key: string): Promise<void> {
  await ask(service, ledger, `/v1/keys/${key}/retention`, { keepLatest: 1 });
  await becomes(service, key, 'decrypt-only');
}

async function becomes(service: TestService, key: string, state: string): Promise<void> {
  for (const deadline = performance.now() + 30_000; ; ) {
    const { body } = await service.call('GET', `/v1/keys/${key}/versions`);
    const versions = (body['items'] ?? []) as { version: number; state: string }[];
    if (versions.find(({ version }) => version === 1)?.state === state) return;
    if (performance.now() > deadline) throw new Error(`version 1 of ${key} is not ${state}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function createToken(service: TestService, ledger: Ledger): Promise<void> {
  const body = { name: `token-${requests}`, scopes: ['keys:admin'] };
  ledger.tokens.add(member(await ask(service, ledger, '/v1/access/tokens', body), 'secret') ?? '');
}

export async function encrypt(service: TestService, ledger: Ledger, key: string): Promise<void> {
  const plaintext = Buffer.from(`message ${requests}`).toString('base64');
  const answer = await ask(service, ledger, `/v1/keys/${key}/encrypt`, { plaintext });
  const ciphertext = member(answer, 'ciphertext') ?? '';
  ledger.sealed.push({ ciphertext, plaintext, key, version: Number(answer.body['keyVersion']) });
}

export async function random(service: TestService, ledger: Ledger): Promise<void> {
  await ask(service, ledger, '/v1/random', { bytes: 1 });
}

/** Every acknowledged ciphertext opens, every acknowledged version is there, every acknowledged token is let in. */
export async function expectServed(service: TestService, ledger: Ledger): Promise<void> {
  const sealed = ledger.sealed.slice(-100);
  if (sealed.length > 0) {
    const operations = sealed.map(({ ciphertext }) => ({ operation: 'decrypt', ciphertext }));
    const { body } = await service.call('POST', '/v1/batch', { operations });
    const results = (body['results'] ?? []) as { plaintext?: string; keyVersion?: number }[];
    expect(results.map(({ plaintext, keyVersion }) => [plaintext, keyVersion])).toEqual(
      sealed.map(({ plaintext, version }) => [plaintext, version]),
    );
  }
  const current = new Map((await allKeys(service)).map(({ name, currentVersion }) => [name, currentVersion]));
  expect([...ledger.keys].filter(([name, version]) => (current.get(name) ?? 0) < version)).toEqual([]);
  const newest = [...ledger.tokens].slice(-3);
  const statuses = newest.map(
    async (token) => (await service.call('GET', '/v1/keys', undefined, { token })).status,
  );
  expect(await Promise.all(statuses)).toEqual(newest.map(() => 200));
}

/** What must hold of the files of a service that is dead: the log is whole, and has each answered operation once. */
export async function expectWhole(dataDir: string, ledger: Ledger): Promise<void> {
  const records = await recordsOnDisk(dataDir);
  const counts = countBy(records, ({ requestId }) => requestId);
  expect([...ledger.acknowledged].filter((id) => counts.get(id) !== 1)).toEqual([]);
  expect([...ledger.sent].filter((id) => (counts.get(id) ?? 0) > 1)).toEqual([]);
  const store = openSqliteStore({ file: join(dataDir, 'stathera.db'), readonly: true });
  try {
    const { ok, problems } = await verifyAudit({ directory: join(dataDir, 'audit'), store });
    expect([problems, ok]).toEqual([[], true]);
    const usage = await store.db
      .selectFrom('key_usage')
      .innerJoin('key_versions', 'key_versions.id', 'key_usage.version_id')
      .innerJoin('keys', 'keys.id', 'key_versions.key_id')
      .select(['keys.name', 'key_versions.ordinal', 'key_usage.reserved'])
      .execute();
    const reserved = new Map(usage.map((row) => [`${row.name} ${row.ordinal}`, row.reserved]));
    const ends = await store.db
      .selectFrom('version_destructions')
      .innerJoin('key_versions', 'key_versions.id', 'version_destructions.version_id')
      .select(['key_versions.state', 'key_versions.blob', 'version_destructions.state as end', 'record'])
      .execute();
    // All of an end or nothing of it: the state, the key that is gone, and the record.
    const halves = ends.filter(({ state, blob, end, record }) =>
      end === 'destroyed'
        ? state !== 'destroyed' || blob.length > 0 || record === null
        : state !== 'destroy-scheduled' || blob.length === 0 || record !== null,
    );
    expect(halves).toEqual([]);
    const used = countBy(ledger.sealed, ({ key, version }) => `${key} ${version}`);
    expect([...used].filter(([version, uses]) => (reserved.get(version) ?? 0) < uses)).toEqual([]);
  } finally {
    await store.close();
  }
}

/** Every change that took effect is on record exactly once, acknowledged or not; and no change is that did not. */
export async function expectEveryChangeRecorded(service: TestService): Promise<void> {
  const keys = await allKeys(service);
  const changes = (await recordsOnDisk(service.dataDir)).filter(({ outcome }) => outcome === 'allowed');
  const of = (action: string) => changes.filter((record) => record.action === action);
  const created = countBy(of('keys.create'), targetId);
  const rotated = countBy(of('keys.rotate'), targetId);
  expect(keys.map(({ id }) => [id, created.get(id), 1 + (rotated.get(id) ?? 0)])).toEqual(
    keys.map(({ id, currentVersion }) => [id, 1, currentVersion]),
  );
  expect(created.size).toBe(keys.length);
  const ends = keys.map(async ({ id }) => {
    const { body } = await service.call('GET', `/v1/keys/${id}/destructions`);
    const done = (body['items'] as { state: string }[]).filter(({ state }) => state === 'destroyed');
    return done.length === 0 ? [] : [[id, done.length] as const];
  });
  expect(countBy(of('keys.destroy'), targetId)).toEqual(new Map((await Promise.all(ends)).flat()));
  const { body } = await service.call('GET', '/v1/access/tokens?limit=1000');
  const tokens = (body['items'] as { id: string }[]).map(({ id }): [string, number] => [id, 1]);
  expect(countBy(of('access.create-token'), targetId)).toEqual(new Map(tokens));
}

const targetId = ({ target }: AuditRecord): string => target?.id ?? '';

function countBy<Item>(items: readonly Item[], key: (item: Item) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}

async function allKeys(service: TestService): Promise<KeyView[]> {
  const keys: KeyView[] = [];
  for (let cursor = ''; ; ) {
    const page = await service.call('GET', `/v1/keys?limit=1000${cursor}`);
    keys.push(...(page.body['items'] as KeyView[]));
    const next = member(page, 'nextCursor');
    if (next === undefined) return keys;
    cursor = `&cursor=${next}`;
  }
}
