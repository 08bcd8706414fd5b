import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type ContributeOptions,
  type ContributeService,
  contribute,
  type Row,
  RowRefused,
} from '../../src/client/node/aggregate/index.ts';
import { createClient, StatheraError } from '../../src/client/node/index.ts';
import { headerBytes } from '../../src/crypto/homomorphic/ciphertext.ts';
import { layoutOf, type Measure } from '../../src/crypto/homomorphic/layout.ts';
import { unpack } from '../../src/crypto/homomorphic/packing.ts';
import { prologueBytes } from '../../src/crypto/homomorphic/upload.ts';
import { makeDataset, salaries, seal, set } from '../aggregate/support.ts';
import { projectRoot } from '../support/data.ts';
import { stripped } from '../support/loaded.ts';
import { startTestService, type TestService } from '../support/service.ts';

const definition = {
  columns: [
    { name: 'salary', lower: 0, upper: 50_000_000, scale: 2, unit: 'EUR', edges: [3_000_000, 6_000_000] },
    { name: 'change', lower: -Number.MAX_SAFE_INTEGER, upper: 1_000, scale: 0, unit: '' },
  ],
  groups: [
    { name: 'department', labels: ['sales', 'legal'] },
    { name: 'site', labels: ['a', 'b', 'c'] },
  ],
};
const policy = { statistics: ['variance', 'histogram'], rowsPerContribution: 500, contributions: 100 };
const layout = layoutOf({ ...definition, squares: true, ...policy }, set);
const owner = generateKeyPairSync('ed25519');
const verificationKey = owner.publicKey.export({ format: 'raw-public' });

const base64url = (text: string | Uint8Array) => Buffer.from(text).toString('base64url');

/** A manifest, written here by itself. */
function manifestOf(
  publicKey: Uint8Array,
  change: object = {},
  { typ = 'stathera-epoch+jws', alg = 'EdDSA', key = owner.privateKey } = {},
): string {
  const payload = {
    ...{ format: 'stathera/dataset/epoch/v1', datasetId: 'dataset-id', datasetName: 'salaries' },
    ...{ epochId: 'epoch-id', epoch: 1, parameters: set.name, definition, policy },
    publicKeySha256: createHash('sha256').update(publicKey).digest('base64'),
    ...change,
  };
  const signed = `${base64url(JSON.stringify({ alg, typ }))}.${base64url(JSON.stringify(payload))}`;
  return `${signed}.${base64url(sign(null, Buffer.from(signed), key))}`;
}

interface Sent {
  readonly epoch: number;
  readonly ordinal: number;
  readonly upload: Uint8Array;
}

/** A service that has keys of its own, and keeps what it is sent. */
async function standIn(change: Partial<{ manifest: string; closed: number }> = {}) {
  const bgv = await seal();
  const sent: Sent[] = [];
  let { closed = 0 } = change;
  let epoch = 1;
  const keys = [bgv.generateKeys(), bgv.generateKeys()];
  const service = {
    async getEpochKey() {
      const { publicKey } = keys[epoch - 1]!;
      const manifest = change.manifest ?? manifestOf(publicKey, { epoch });
      return { manifest, publicKey, contributorId: 'me' };
    },
    getDataset: async () => ({ verificationKey }),
    async contribute(given: Sent & { dataset: string }) {
      if (closed > 0) {
        closed -= 1;
        epoch += 1;
        throw new StatheraError('dataset/epoch-closed', 'The epoch is closed.');
      }
      sent.push(given);
      return { id: 'id', datasetId: given.dataset, epoch: given.epoch };
    },
  } as unknown as ContributeService;
  /** What is in the slots of what was sent. */
  const opened = (upload: Uint8Array, of: number) => {
    const decryptor = bgv.decryptor(keys[of - 1]!.secretKey);
    const slots = decryptor.decrypt(upload.subarray(prologueBytes + headerBytes));
    return (measure: Measure, cell: number): bigint => {
      const field = layout.fields.find((one) => JSON.stringify(one.measure) === JSON.stringify(measure))!;
      return unpack(layout, field, cell, new Map([[0, slots]]));
    };
  };
  return { service, sent, opened, keys };
}

const options = (rows: ContributeOptions['rows']): ContributeOptions => ({
  ...{ dataset: 'salaries', rows, verificationKey },
});

/** What the rows come to, in the plainest way. */
function reference(rows: readonly Row[], cell: number) {
  const clampedTo = (value: bigint, at: number) => {
    const { lower, upper } = definition.columns[at]!;
    return value < BigInt(lower) ? BigInt(lower) : value > BigInt(upper) ? BigInt(upper) : value;
  };
  const own = rows.filter(
    ({ department, site }) =>
      definition.groups[0]!.labels.indexOf(String(department)) * 3 +
        definition.groups[1]!.labels.indexOf(String(site)) ===
      cell,
  );
  const columns = ['salary', 'change'].map((name, at) => own.map((row) => clampedTo(BigInt(row[name]!), at)));
  const sum = (values: readonly bigint[]) => values.reduce((total, value) => total + value, 0n);
  const bins = [0n, 3_000_000n, 6_000_000n, 2n ** 60n];
  return {
    count: BigInt(own.length),
    sums: columns.map(sum),
    squares: columns.map((values) => sum(values.map((value) => value * value))),
    bins: [0, 1, 2].map((bin) =>
      BigInt(columns[0]!.filter((value) => value >= bins[bin]! && value < bins[bin + 1]!).length),
    ),
  };
}

/** Guarantees that what is sent holds the exact counts, sums, squares and bins of the rows, clamped, cell by cell. */
test('sends exactly what the rows come to', async () => {
  const row = fc.record({
    department: fc.constantFrom('sales', 'legal'),
    site: fc.constantFrom('a', 'b', 'c'),
    salary: fc.oneof(
      fc.constantFrom(0, 2_999_999, 3_000_000, 5_999_999, 6_000_000, 50_000_000, -1, 50_000_001, 2 ** 60),
      fc.integer({ min: 0, max: 50_000_000 }),
    ),
    change: fc.oneof(
      fc.constantFrom(-Number.MAX_SAFE_INTEGER, 1_000, 1_001, 0),
      fc.bigInt(-(2n ** 70n), 2n ** 70n),
    ),
  });
  const { service, sent, opened } = await standIn();
  await fc.assert(
    fc.asyncProperty(fc.array(row, { maxLength: 500 }), async (drawn) => {
      const rows = drawn.map((one) => ({ ...one, salary: BigInt(one.salary) }));
      const { clamped, rows: counted, bytes } = await contribute(service, options(rows));
      const beyond = rows.flatMap(({ salary, change }) => [
        salary < 0n || salary > 50_000_000n,
        change < BigInt(-Number.MAX_SAFE_INTEGER) || change > 1_000n,
      ]);
      expect([counted, clamped]).toEqual([rows.length, beyond.filter(Boolean).length]);
      const { upload, epoch } = sent.at(-1)!;
      expect(upload.length).toBe(bytes);
      const number = opened(upload, epoch);
      for (let cell = 0; cell < 6; cell += 1) {
        const expected = reference(rows, cell);
        expect({
          count: number({ kind: 'count' }, cell),
          sums: [0, 1].map((column) => number({ kind: 'sum', column }, cell)),
          squares: [0, 1].map((column) => number({ kind: 'squares', column }, cell)),
          bins: [0, 1, 2].map((bin) => number({ kind: 'bin', column: 0, bin }, cell)),
        }).toEqual(expected);
      }
    }),
    { numRuns: 8 },
  );
});

/** Guarantees that decimal text is counted as the column's scale has it, exactly, and that other text is refused by place. */
test('reads values as they are meant', async () => {
  const { service, sent, opened } = await standIn();
  const place = { department: 'legal', site: 'c', change: '-7' };
  const texts = ['0.1', '12345.67', ' 3 ', '00.50', '1.2300', '-0'];
  await contribute(service, options(texts.map((salary) => ({ ...place, salary }))));
  const number = opened(sent[0]!.upload, 1);
  expect(number({ kind: 'sum', column: 0 }, 5)).toBe(10n + 1_234_567n + 300n + 50n + 123n);
  expect(number({ kind: 'sum', column: 1 }, 5)).toBe(-42n);
  const good = { ...place, salary: 1 };
  const wrong: readonly [Row, string, RegExp][] = [
    [{ ...good, salary: '1.234' }, 'salary', /more than 2 decimal places/],
    [{ ...good, change: '1.5' }, 'change', /more than 0 decimal places/],
    [{ ...good, salary: '1e3' }, 'salary', /no number/],
    [{ ...good, salary: '' }, 'salary', /no number/],
    [{ ...good, salary: 1.5 }, 'salary', /no whole number/],
    [{ ...good, salary: Number.NaN }, 'salary', /no whole number/],
    [{ department: 'legal', site: 'c', salary: 1 }, 'change', /no number/],
    [{ ...good, site: 'secret-site' }, 'site', /none of the labels/],
    [{ salary: 1, change: 1, site: 'a' }, 'department', /none of the labels/],
    [{ ...good, site: '__proto__' }, 'site', /none of the labels/],
  ];
  for (const [row, member, text] of wrong) {
    const error: unknown = await contribute(service, options([good, row])).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RowRefused);
    expect(error).toMatchObject({ row: 2, member, message: expect.stringMatching(text) });
    expect(String(error)).not.toContain('secret-site');
  }
  const many = Array.from({ length: 501 }, () => good);
  await expect(contribute(service, options(many))).rejects.toMatchObject({ row: 501, member: undefined });
  expect(sent).toHaveLength(1);
});

/** Guarantees that nothing is encrypted or sent for a key that the dataset's owner did not sign for this dataset. */
test('trusts what was signed and nothing else', async () => {
  const { service, sent, keys } = await standIn();
  const { publicKey } = keys[0]!;
  const right = manifestOf(publicKey);
  const [header, payload, signature] = right.split('.') as [string, string, string];
  const other = generateKeyPairSync('ed25519');
  const manifests: Readonly<Record<string, string>> = {
    'another key’s': manifestOf(publicKey, {}, { key: other.privateKey }),
    'another payload': `${header}.${base64url(Buffer.from(payload, 'base64url').toString().replace('"epoch":1', '"epoch":2'))}.${signature}`,
    'no signature': `${header}.${payload}.`,
    'two parts': `${header}.${payload}`,
    'another type': manifestOf(publicKey, {}, { typ: 'JWT' }),
    'another algorithm': manifestOf(publicKey, {}, { alg: 'none' }),
    'a later format': manifestOf(publicKey, { format: 'stathera/dataset/epoch/v2' }),
    'unknown parameters': manifestOf(publicKey, { parameters: 'toString' }),
    'another dataset': manifestOf(publicKey, { datasetName: 'other' }),
    'another public key': manifestOf(randomBytes(8)),
    nothing: '',
  };
  for (const [what, manifest] of Object.entries(manifests)) {
    const lying = { ...service, getEpochKey: async () => ({ manifest, publicKey, contributorId: 'me' }) };
    const error: unknown = await contribute(lying as ContributeService, options([])).catch(
      (thrown: unknown) => thrown,
    );
    expect([what, (error as StatheraError).code]).toEqual([what, 'client/manifest-invalid']);
  }
  await expect(
    contribute(service, { ...options([]), verificationKey: new Uint8Array(31) }),
  ).rejects.toMatchObject({
    code: 'client/manifest-invalid',
  });
  const accept = (manifest: { readonly policy: object }) => {
    expect(manifest.policy).toEqual(policy);
    return false;
  };
  await expect(contribute(service, { ...options([]), accept })).rejects.toMatchObject({
    code: 'client/manifest-refused',
  });
  expect(sent).toEqual([]);
  await contribute(service, { ...options([]), verificationKey: 'from-service' });
  expect(sent).toHaveLength(1);
});

/** Guarantees that an epoch that ends meanwhile costs nothing: the same numbers go to the next, under its key. */
test('goes on in the next epoch', async () => {
  const { service, sent, opened } = await standIn({ closed: 1 });
  const rows = (function* () {
    yield { department: 'sales', site: 'a', salary: 5, change: 6 };
  })();
  const steps: string[] = [];
  const onProgress = (step: string) => void steps.push(step);
  const { epoch } = await contribute(service, { ...options(rows), ordinal: 3, onProgress });
  expect([epoch, sent.map((one) => [one.epoch, one.ordinal])]).toEqual([2, [[2, 3]]]);
  expect(opened(sent[0]!.upload, 2)({ kind: 'sum', column: 1 }, 0)).toBe(6n);
  expect(steps).toEqual(['rows', 'encrypt', 'send', 'encrypt', 'send']);
});

/** Guarantees that a caller who gives up is heard at every step, and that nothing is sent then. */
test('gives up when it is told to', async () => {
  const { service, sent } = await standIn();
  const row = { department: 'sales', site: 'a', salary: 5, change: 6 };
  for (const at of ['rows', 'encrypt'] as const) {
    const controller = new AbortController();
    const onProgress = (step: string) => {
      if (step === at) controller.abort(new Error(`at ${at}`));
    };
    await expect(
      contribute(service, { ...options([row]), signal: controller.signal, onProgress }),
    ).rejects.toThrow(`at ${at}`);
  }
  const aborted = AbortSignal.abort(new Error('before'));
  await expect(contribute(service, { ...options([row]), signal: aborted })).rejects.toThrow('before');
  expect(sent).toEqual([]);
});

const executablePath = '/usr/bin/chromium';
// In CI a missing browser is a failure, not a reason to skip.
const missing = !existsSync(executablePath) && process.env['CI'] !== 'true';
if (missing) process.stdout.write('skipped: contributing in a browser, for want of /usr/bin/chromium\n');

let service: TestService;
let server: Server;
let browser: Browser | undefined;

/** The sources as a bundler gives them to a browser, SEAL, a page, and the service. */
async function serve(): Promise<void> {
  server = createServer((incoming, response) => {
    const { url = '', method = 'GET', headers } = incoming;
    const script = () => response.setHeader('content-type', 'text/javascript');
    if (url === '/') return void response.setHeader('content-type', 'text/html').end('<!doctype html>');
    if (url.startsWith('/node_modules/node-seal/')) {
      const wasm = url.endsWith('.wasm');
      const type = wasm ? 'application/wasm' : 'text/javascript';
      response.setHeader('content-type', type).end(readFileSync(join(projectRoot, normalize(url))));
    } else if (url.startsWith('/src/')) {
      const code = stripped(normalize(url.slice(1)).replace(/\.js$/, '.ts'));
      script().end(code.replaceAll("'node-seal'", "'/node_modules/node-seal/dist/index_throws.js'"));
    } else {
      void buffer(incoming).then(async (body) => {
        const { authorization = '', 'content-type': type = '', 'x-request-id': id = '' } = headers;
        const answer = await fetch(service.url + url, {
          method,
          headers: { authorization, ...(type && { 'content-type': type }), 'x-request-id': String(id) },
          ...(body.length > 0 && { body }),
        });
        response.writeHead(answer.status, Object.fromEntries(answer.headers));
        response.end(Buffer.from(await answer.arrayBuffer()));
      });
    }
  }).listen(0, '127.0.0.1');
}

beforeAll(async () => {
  service = await startTestService();
  if (missing) return;
  await serve();
  browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run'],
  });
});
afterAll(async () => {
  await browser?.close();
  server?.closeAllConnections();
  server?.close();
  await service.dispose();
});

const row = { department: 'sales', salary: '1234.56' };

/** Guarantees that the service takes what the client makes, and that a second time is told as such. */
test('the service takes it', async () => {
  const dataset = await makeDataset(service, {
    policy: { ...salaries.policy, contributionsPerContributor: 2 },
  });
  const client = createClient({ url: service.url, credentials: service.token });
  const { verificationKey: key } = await client.getDataset({ dataset });
  const given = { dataset, rows: [row, row], verificationKey: key };
  const made = await contribute(client, given);
  expect(made).toMatchObject({ epoch: 1, ordinal: 1, rows: 2, clamped: 0, bytes: 131_225 });
  await expect(contribute(client, given)).rejects.toMatchObject({ code: 'contribution/exists' });
  expect((await contribute(client, { ...given, ordinal: 2 })).ordinal).toBe(2);
  const { items } = await client.listEpochs({ dataset });
  expect(items[0]).toMatchObject({ epoch: 1, contributions: 2 });
});

/** Guarantees that a page contributes as a program on Node does, in a worker of its own. */
test.skipIf(missing)('a page contributes', async () => {
  const dataset = await makeDataset(service);
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const page = await browser!.newPage();
  await page.goto(origin);
  const given = JSON.stringify({ url: origin, token: service.token, dataset, row });
  const made = await page.evaluate(`(async ({ url, token, dataset, row }) => {
    const { createClient } = await import('/src/client/index.ts');
    const { contribute } = await import('/src/client/aggregate/index.ts');
    const client = createClient({ url, credentials: token });
    return await contribute(client, { dataset, rows: [row], verificationKey: 'from-service' });
  })(${given})`);
  expect(made).toMatchObject({ epoch: 1, ordinal: 1, rows: 1, clamped: 0, bytes: 131_225 });
});
