import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newId } from '../../src/core/ids.ts';
import { evidenceOf } from '../../src/coverage/report.ts';
import type { CoverageReportRow } from '../../src/store/coverage-rows.ts';
import { auditRecords } from '../access/support.ts';
import { driver } from '../envelope/support.ts';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
let ids: string[];
beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  for (const name of ['card', 'other']) await calls.createKey(name);
  for (let count = 0; count < 2; count += 1) await calls.must('POST', '/v1/keys/card/rotate', {});
  const { items } = await calls.must('GET', '/v1/keys/card/versions');
  ids = (items as { id: string }[]).map(({ id }) => id).toReversed();
});
afterAll(() => service.dispose());

const place = { system: 'postgres', database: 'db:5432/shop', table: 'payments', column: 'card' };
const counts = (version: number, remaining: number, more: object = {}) => ({
  ...{
    version,
    versionId: ids[version - 1],
    found: 10,
    rewrapped: 10 - remaining,
    failed: remaining,
    remaining,
  },
  ...more,
});
const report = (more: object = {}) => ({
  ...{ place, currentVersion: 3, agreed: true, scanSeconds: 0.01 },
  ...{ rows: 100, nulls: 5, foreign: 3, unreadable: 2, versions: [counts(1, 0), counts(2, 0)] },
  ...more,
});
const post = (body: object, key = 'card', token?: string) =>
  service.call('POST', `/v1/keys/${key}/coverage`, body, token === undefined ? {} : { token });

/** Guarantees that a report is kept as it was given, with who gave it, by the service's clock, and is on the record. */
test('keeps reports', async () => {
  const { scanSeconds: _, ...kept } = report();
  const made = await post(report());
  expect(made.status).toBe(201);
  expect(made.body).toMatchObject({
    ...kept,
    complete: true,
    reportedBy: 'bootstrap',
  });
  const begun = Date.parse(String(made.body['scanStartedAt']));
  expect(Date.parse(String(made.body['createdAt'])) - begun).toBe(10);
  const left = await post(report({ versions: [counts(1, 4), counts(3, 10)] }));
  expect(left.body['complete']).toBe(false);
  expect((await post(report({ agreed: false }))).body['complete']).toBe(false);
  // Of the current version there may be any number.
  expect((await post(report({ versions: [counts(3, 10)] }))).body['complete']).toBe(true);
  const page = await calls.must('GET', '/v1/keys/card/coverage?limit=3');
  const rest = await calls.must('GET', `/v1/keys/card/coverage?limit=3&cursor=${String(page['nextCursor'])}`);
  const all = [...(page['items'] as { id: string }[]), ...(rest['items'] as { id: string }[])];
  expect(all).toHaveLength(4);
  expect(all.at(-1)).toEqual(made.body);
  expect(all.map(({ id }) => id)).toEqual(
    all
      .map(({ id }) => id)
      .toSorted()
      .toReversed(),
  );
  const [record] = await auditRecords(service, { action: 'coverage.report' });
  expect(record).toMatchObject({ outcome: 'allowed', target: { name: 'card', version: 3 } });
});

/** Guarantees that a report of versions that are not the key's, of an earlier time or with impossible counts is refused. */
test.each([
  ['another version', { currentVersion: 4 }, '/currentVersion'],
  [
    'an id of another version',
    () => ({ versions: [counts(1, 0, { versionId: ids[1] })] }),
    '/versions/0/versionId',
  ],
  ['an id of none', () => ({ versions: [counts(1, 0, { versionId: newId() })] }), '/versions/0/versionId'],
  [
    'more left than there was',
    () => ({ versions: [counts(1, 11, { rewrapped: 0 })] }),
    '/versions/0/remaining',
  ],
  ['a scan before the version', { scanSeconds: 3_600 }, '/scanSeconds'],
  ['a negative count', { rows: -1 }, '/rows'],
  ['a place without a column', { place: { ...place, column: '' } }, '/place/column'],
])('refuses %s', async (_, change, pointer) => {
  const answer = await post(report(typeof change === 'function' ? change() : change));
  expect([answer.status, answer.body['code'], answer.body['errors']]).toEqual([
    ...[400, 'request/invalid', [expect.objectContaining({ pointer })]],
  ]);
});

/** Guarantees that who may not see the key learns nothing of its reports, and can add none. */
test('keys that are hidden', async () => {
  const token = await calls.createToken({ scopes: ['keys:rewrap'], keys: ['other'] });
  expect((await post(report(), 'card', token)).body['code']).toBe('key/not-found');
  const list = await service.call('GET', '/v1/keys/card/coverage', undefined, { token });
  expect(list.body['code']).toBe('key/not-found');
  expect((await service.call('GET', '/v1/keys/other/coverage', undefined, { token })).body['items']).toEqual(
    [],
  );
});

const row = (more: Partial<CoverageReportRow>): CoverageReportRow => ({
  ...{ id: newId(), namespace_id: 'n', key_id: 'k', place_id: 'p', place: '{}', agreed: 1 },
  ...{ current_version_id: 'v9', current_ordinal: 9, scan_started_at: 50, reported_by: '{}', created_at: 60 },
  ...{ counts: JSON.stringify({ versions: [] }), mac: new Uint8Array() },
  ...more,
});
const found = (versionId: string, remaining: number) =>
  JSON.stringify({ versions: [{ version: 1, versionId, found: 10, rewrapped: 0, failed: 0, remaining }] });

/** Guarantees that evidence is the sum over all places, as old as the oldest, and none unless each place has it. */
test('evidence of several places', () => {
  const version = { id: 'v1', ordinal: 1 };
  expect(evidenceOf([], version)).toBe('unknown');
  const one = row({ counts: found('v1', 2), scan_started_at: 70 });
  const two = row({ counts: found('v1', 3), scan_started_at: 40 });
  expect(evidenceOf([two, one], version)).toEqual({ found: 20, remaining: 5, at: 40, report: two.id });
  // Where nothing was found of it, nothing is left of it.
  expect(evidenceOf([one, row({})], version)).toMatchObject({ found: 10, remaining: 2, at: 50 });
  // A version of the same number, made after a restore, is another.
  expect(evidenceOf([row({ counts: found('v1-again', 2) })], version)).toMatchObject({
    found: 0,
    remaining: 0,
  });
  expect(evidenceOf([one, row({ agreed: 0 })], version)).toBe('unknown');
  expect(evidenceOf([one, row({ current_ordinal: 1 })], version)).toBe('unknown');
  expect(evidenceOf([row({})], { id: 'v9', ordinal: 9 })).toBe('unknown');
});

/** Guarantees that a report that was altered in the database is not shown as evidence. */
test('an altered report', async () => {
  await post(report({ place: { ...place, column: 'altered' } }), 'card');
  const database = new Database(join(service.dataDir, 'stathera.db'));
  database.exec("update coverage_reports set agreed = 0 where place like '%altered%'");
  database.close();
  const list = await service.call('GET', '/v1/keys/card/coverage');
  expect([list.status, list.body['code']]).toEqual([500, 'internal']);
});
