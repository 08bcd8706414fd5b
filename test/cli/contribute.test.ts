import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readCsv } from '../../src/cli/csv.ts';
import { makeDataset } from '../aggregate/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, pipe, run } from './support.ts';

/** Records of a text that comes in pieces of so many bytes. */
function records(text: string | Uint8Array, pieceBytes = 1_000_000): Promise<string[][]> {
  const bytes = Buffer.from(text as string);
  return Array.fromAsync(
    readCsv(
      (async function* () {
        for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
      })(),
    ),
  );
}

const quoted = (field: string) => `"${field.replaceAll('"', '""')}"`;

/** Guarantees that every table that can be written as RFC 4180 has it is read as it was, wherever its pieces are cut. */
test('reads what was written', async () => {
  const field = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 6 }),
    fc.constantFrom('"', '""', ',', '\n', '\r\n', '\r', 'é', '💥', ' a '),
  );
  const table = fc.array(fc.array(field, { minLength: 1, maxLength: 4 }), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(
      table,
      fc.constantFrom('\n', '\r\n'),
      fc.boolean(),
      fc.integer({ min: 1, max: 9 }),
      async (rows, end, last, piece) => {
        const text = rows.map((fields) => fields.map(quoted).join(',')).join(end) + (last ? end : '');
        expect(await records(text, piece)).toEqual(rows);
      },
    ),
  );
});

/** Guarantees how the forms that are left open are read, and that what is no table is refused by its line. */
test('reads and refuses forms', async () => {
  expect(await records('\ufeffa,b\r\n1, 2 \r\n\n"x""y",\n,\n3')).toEqual([
    ['a', 'b'],
    ['1', ' 2 '],
    ['x"y', ''],
    ['', ''],
    ['3'],
  ]);
  expect(await records('a\rb,c')).toEqual([['a\rb', 'c']]);
  expect(await records('')).toEqual([]);
  for (const [text, message] of [
    ['a,b\n1,"2', 'line 2: a quote is not closed'],
    ['a\nb"c', 'line 2: a quote stands where none may be'],
    ['"a"b', 'line 1: a quote stands where none may be'],
    [Buffer.from('a\nb\xff', 'latin1'), 'the file is not UTF-8'],
    [Buffer.from('a\xc3', 'latin1'), 'the file is not UTF-8'],
    [`"${'\n'.repeat(2 ** 20)}`, /a record is too long/],
  ] as const) {
    await expect(records(text)).rejects.toThrow(message);
  }
});

let service: TestService;
let env: Env;
let folder: string;
let dataset: string;
let key: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'stathera-contribute-'));
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
  dataset = await makeDataset(service);
  key = String((await service.call('GET', `/v1/datasets/${dataset}`)).body['verificationKey']);
});
afterAll(async () => {
  await service.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const table = 'department,name,salary\nsales,Ada,1234.56\n"engineering","O ""B""",99\nlegal,X,600000\n';

/** Guarantees that a file's sums are contributed and said, that a second time is refused, and that a pipe does as well. */
test('contributes a file and a pipe', { timeout: 60_000 }, async () => {
  const file = join(folder, 'salaries.csv');
  writeFileSync(file, table);
  const given = ['contribute', file, '--dataset', dataset];
  const made = await run(env, ...given, '--verification-key', key);
  expect([made.code, made.stderr]).toEqual([0, '']);
  expect(made.stdout).toBe(
    `contributed 3 rows to ${dataset}, epoch 1\n1 values lay beyond their bounds, and were counted as these\n`,
  );
  const again = await run(env, ...given, '--trust-service');
  expect([again.code, again.stdout]).toEqual([1, '']);
  expect(again.stderr).toMatch(/^stathera: contribution\/exists: /);
  const next = await makeDataset(service);
  const piped = await pipe(env, Buffer.from(table), '--json', 'contribute', '-d', next, '--trust-service');
  expect([piped.code, piped.stderr]).toEqual([0, '']);
  expect(JSON.parse(piped.stdout.toString())).toMatchObject({ rows: 3, clamped: 1, epoch: 1, ordinal: 1 });
});

/** Guarantees that what cannot be counted, or would not be encrypted to the dataset's key, is refused in one clear line. */
test('refuses what it cannot do', { timeout: 60_000 }, async () => {
  const other = Buffer.alloc(32, 7).toString('base64');
  const trust = '--trust-service';
  const cases: readonly [text: string, options: string[], said: RegExp, code: number][] = [
    [table, [], /give the dataset’s --verification-key, or --trust-service/, 2],
    [table, [trust, '--verification-key', key], /give the dataset’s --verification-key, or/, 2],
    [table, ['--verification-key', 'AAAA'], /must be 32 bytes in base64/, 2],
    [table, ['--verification-key', other], /client\/manifest-invalid: /, 1],
    [table, [trust, '--ordinal', '0'], /must be a whole number from 1 to 1000/, 2],
    ['', [trust], /the file is empty/, 1],
    ['department,pay\n', [trust], /the first line does not name salary$/m, 1],
    ['department,salary\nsales\n', [trust], /row 1 has 1 fields, and the first line names 2/, 1],
    [
      'department,salary\nsales,1\nsecret,2\n',
      [trust],
      /row 2, "department": is none of the labels declared/,
      1,
    ],
    ['department,salary\nsales,secret\n', [trust], /row 1, "salary": is no number/, 1],
  ];
  const fresh = await makeDataset(service);
  await Promise.all(
    cases.map(async ([text, options, said, code]) => {
      const { stderr, ...ended } = await pipe(env, Buffer.from(text), 'contribute', '-d', fresh, ...options);
      expect([ended.code, ended.stdout.toString()]).toEqual([code, '']);
      expect(stderr).toMatch(said);
      expect(stderr).not.toContain('secret');
    }),
  );
  expect((await service.call('GET', `/v1/datasets/${fresh}/epochs`)).body['items']).toMatchObject([
    { contributions: 0 },
  ]);
  const missing = await run(env, 'contribute', join(folder, 'none.csv'), '-d', fresh, trust);
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('none.csv')]);
});
