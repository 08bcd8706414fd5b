import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import {
  type Client,
  createClient,
  fingerprintOf,
  type PublicKeyAnswer,
  type SealingKey,
  StatheraError,
  sealFile,
  sealingKey,
  sealStream,
  sealTo,
  type UnsealService,
  unsealFile,
  unsealFileStream,
  unsealStream,
} from '../../src/client/node/index.ts';
import { openFrom } from '../../src/crypto/hpke/hpke.ts';
import { hpkeSuite } from '../../src/crypto/hpke/suites.ts';
import { publicKeyOf } from '../../src/crypto/kem/pairs.ts';
import { parseSealedHeader, type SealingAlgorithm } from '../../src/crypto/payload/sealed-format.ts';
import { suites } from '../../src/crypto/suites.ts';
import { bytesOf, collect, inPieces } from '../crypto/payload/support.ts';
import { afterStart, writtenSealed } from '../crypto/payload/written-sealed.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { committedCases } from '../support/vectors.ts';
import { failure } from './support.ts';

interface Owner {
  readonly algorithm: SealingAlgorithm;
  readonly keyId: string;
  readonly keyVersion: number;
  readonly seed: Uint8Array;
}

function answerOf({ algorithm, seed, ...named }: Owner): PublicKeyAnswer {
  const publicKey = publicKeyOf(algorithm, seed);
  if (publicKey === undefined) throw new Error('no private key');
  return { ...named, algorithm, suite: suites[algorithm].id, publicKey };
}

const refusal = (code: 'key/not-found' | 'exchange/refused') => new StatheraError(code, 'refused');

/** What the service does with seeds that no HSM has: for streams that were made once and for ever. */
function serviceOf(owners: readonly Owner[]): UnsealService {
  return {
    async open({ key, version, enc, ciphertext, info = new Uint8Array(), aad = new Uint8Array() }) {
      const owner = owners.find(({ keyId, keyVersion }) => keyId === key && keyVersion === version);
      if (owner === undefined) throw refusal('key/not-found');
      const recipient = { seed: owner.seed, publicKey: answerOf(owner).publicKey };
      const suite = hpkeSuite(owner.algorithm, 'aes-256-gcm');
      const plaintext = await openFrom(suite, { recipient, enc, ciphertext, info, aad });
      if (plaintext === undefined) throw refusal('exchange/refused');
      return { plaintext: Uint8Array.from(plaintext), keyId: owner.keyId, keyVersion: owner.keyVersion };
    },
    getKey: async ({ key }) => ({ id: key }) as Awaited<ReturnType<UnsealService['getKey']>>,
  };
}

interface Golden {
  readonly name: string;
  readonly recipients: readonly (Omit<Owner, 'seed'> & { readonly seed: string })[];
  readonly associatedData: string;
  readonly plaintextBytes: number;
  readonly plaintextSha256: string;
  readonly ciphertext: string;
}

const ownersOf = ({ recipients }: Golden): Owner[] =>
  recipients.map(({ seed, ...owner }) => ({ ...owner, seed: Buffer.from(seed, 'hex') }));
const golden = committedCases<Golden>('payload/format-3');

/** Guarantees that what was made once, by the written format, opens for ever, by each of its recipients. */
test.each(golden)('opens a golden stream: $name', async (each) => {
  const associatedData = Buffer.from(each.associatedData);
  const sealed = Buffer.from(each.ciphertext, 'base64');
  for (const owner of ownersOf(each)) {
    const opened = await collect(
      unsealStream(serviceOf([owner]), inPieces(sealed, [1000]), { associatedData }),
    );
    expect(opened).toHaveLength(each.plaintextBytes);
    expect(createHash('sha256').update(opened).digest('hex')).toBe(each.plaintextSha256);
  }
});

const owners: Owner[] = (['x-wing', 'ml-kem-768', 'x25519', 'p256'] as const).map((algorithm, index) => ({
  ...{ algorithm, keyVersion: index + 1, seed: bytesOf(algorithm, suites[algorithm].keyBytes) },
  keyId: `01a20de5-0ca2-77f4-9509-99000000000${index}`,
}));
const associatedData = Buffer.from('reports/2026');

async function sealed(to: readonly Owner[], plaintext: Uint8Array): Promise<Buffer> {
  const keys = to.map((owner) => sealingKey(answerOf(owner)));
  return await collect(sealStream(keys, inPieces(plaintext, [70_000, 3]), { associatedData }));
}

function headerOf(bytes: Uint8Array) {
  const header = parseSealedHeader(bytes);
  if (header === undefined || header === 'incomplete') throw new Error('no header');
  return header;
}

/** Guarantees that streams of any length are as the format says: all that follows from the data key, byte by byte. */
test('seals as it is written', async () => {
  for (const length of [0, 1, 65_536, 65_537, 200_000]) {
    const plaintext = bytesOf(`plaintext/${length}`, length);
    const bytes = await sealed(owners, plaintext);
    const { start, salt, recipients } = headerOf(bytes);
    for (const [
      index,
      { enc, sealedKey: ciphertext, keyId, keyVersion, algorithm },
    ] of recipients.entries()) {
      expect([algorithm, keyVersion]).toEqual([owners[index]?.algorithm, index + 1]);
      expect(Buffer.from(keyId).toString('hex')).toBe(owners[index]?.keyId.replaceAll('-', ''));
      const input = { key: owners[index]?.keyId ?? '', version: keyVersion, enc, ciphertext };
      const head = Buffer.from([suites[algorithm].number, ...keyId, 0, 0, 0, keyVersion]);
      const info = Buffer.from('stathera/sealed/data-key/v1');
      const { plaintext: dataKey } = await serviceOf(owners).open({ ...input, info, aad: head });
      expect(
        afterStart(start, { dataKey, salt, associatedData, plaintext }).equals(bytes.subarray(start.length)),
      ).toBe(true);
    }
  }
});

/** Guarantees that what other software makes by the written format opens, for each recipient. */
test('opens as it is written', async () => {
  for (const length of [0, 65_536, 150_000]) {
    const recipients = owners.map((owner) => ({ ...owner, publicKey: answerOf(owner).publicKey }));
    const [dataKey, salt, plaintext] = [randomBytes(32), randomBytes(32), randomBytes(length)];
    const bytes = await writtenSealed({ recipients, dataKey, salt, associatedData, plaintext });
    for (const owner of owners) {
      const opened = unsealStream(serviceOf([owner]), inPieces(bytes, [10_000]), { associatedData });
      expect((await collect(opened)).equals(plaintext)).toBe(true);
    }
  }
});

async function codeOf(bytes: Uint8Array, options = {}): Promise<unknown> {
  const opened = unsealStream(serviceOf(owners), inPieces(bytes, [50_000]), { associatedData, ...options });
  return ((await failure(collect(opened))) as { code?: unknown }).code;
}

const failed = 'envelope/decryption-failed';

/** Guarantees one refusal for a stream changed in any bit, cut anywhere, longer, or of other associated data. */
test('a stream that was changed', async () => {
  const whole = await sealed(owners, bytesOf('plaintext', 70_000));
  const { headerBytes } = headerOf(whole);
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.nat(headerBytes * 8 - 1), fc.nat(whole.length * 8 - 1)), async (bit) => {
      const changed = Buffer.from(whole);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(await codeOf(changed)).toBe(failed);
    }),
    { numRuns: 60 },
  );
  for (const length of [
    0,
    1,
    5,
    6,
    100,
    headerBytes - 1,
    headerBytes,
    headerBytes + 65_552,
    whole.length - 1,
  ])
    expect([length, await codeOf(whole.subarray(0, length))]).toEqual([length, failed]);
  expect(await codeOf(Buffer.concat([whole, Buffer.of(0)]))).toBe(failed);
  expect(await codeOf(whole, { associatedData: Buffer.from('reports/2027') })).toBe(failed);
});

/** Guarantees that recipients can be neither taken away, nor added, nor changed in their order, by who cannot seal anew. */
test('other recipients', async () => {
  const two = owners.slice(0, 2);
  const whole = await sealed(two, Buffer.from('to be kept'));
  const { start, recipients } = headerOf(whole);
  const rest = whole.subarray(start.length);
  const sizes = recipients.map(({ enc }) => 21 + enc.length + 48);
  const entries = [start.subarray(6, 6 + (sizes[0] ?? 0)), start.subarray(6 + (sizes[0] ?? 0))] as const;
  const [other] = [headerOf(await sealed(owners.slice(2, 3), Buffer.from('x'))).start.subarray(6)];
  const joined = (...of: readonly Uint8Array[]) =>
    Buffer.concat([Buffer.from([0x53, 3, 1, 3, 0, of.length]), ...of, rest]);
  expect(joined(...entries).equals(whole)).toBe(true);
  expect(
    (await collect(unsealStream(serviceOf(two), inPieces(whole, [9]), { associatedData }))).toString(),
  ).toBe('to be kept');
  for (const changed of [[entries[0]], [entries[1]], [entries[1], entries[0]], [...entries, other]])
    expect(await codeOf(joined(...changed))).toBe(failed);
});

/** Guarantees that the number of recipients is bounded, for who seals and for who opens. */
test('too many recipients', async () => {
  const [owner] = owners.slice(2);
  if (owner === undefined) throw new Error('none');
  const plaintext = Buffer.from('x');
  expect(
    headerOf(
      await sealed(
        Array.from({ length: 64 }, () => owner),
        plaintext,
      ),
    ).recipients,
  ).toHaveLength(64);
  for (const length of [0, 65])
    await expect(
      sealed(
        Array.from({ length }, () => owner),
        plaintext,
      ),
    ).rejects.toThrow(RangeError);
  const whole = await sealed([owner], plaintext);
  for (const count of [0, 65, 0xffff]) {
    const changed = Buffer.from(whole);
    changed.writeUInt16BE(count, 4);
    expect(await codeOf(changed)).toBe(failed);
  }
});

/** Guarantees that a public key is taken only whole, of its algorithm and draft, and with the fingerprint expected. */
test('public keys that are none', () => {
  const [owner] = owners;
  if (owner === undefined) throw new Error('none');
  const answer = answerOf(owner);
  const { fingerprint } = sealingKey(answer);
  expect(fingerprint).toBe(createHash('sha256').update(answer.publicKey).digest('hex'));
  expect(fingerprintOf(answer.publicKey)).toBe(fingerprint);
  expect(sealingKey(answer, ['00', fingerprint.toUpperCase()]).fingerprint).toBe(fingerprint);
  for (const expected of ['', fingerprint.slice(1), [], ['00'.repeat(32)]])
    expect(() => sealingKey(answer, expected)).toThrow('another fingerprint');
  const bad: Partial<PublicKeyAnswer>[] = [
    { publicKey: answer.publicKey.subarray(1) },
    { publicKey: Buffer.alloc(1216, 0xff) },
    { algorithm: 'x25519' },
    { algorithm: 'p384', suite: 'p384' },
    { algorithm: 'constructor' },
    { suite: 'x-wing/draft-connolly-cfrg-xwing-kem-04' },
    { keyId: 'inbox' },
    { keyVersion: 0 },
    { keyVersion: 1.5 },
  ];
  for (const part of bad) expect(() => sealingKey({ ...answer, ...part })).toThrow(TypeError);
});

describe('with a service', () => {
  let service: TestService;
  let client: Client;
  let at: (name: string) => string;
  let folder: string;
  const keys: SealingKey[] = [];
  const names = ['x-wing', 'ml-kem-768', 'x25519', 'p256'] as const;

  beforeAll(async () => {
    service = await startTestService();
    client = createClient({ url: service.url, credentials: service.token });
    for (const name of names) {
      await client.createKey({ name, algorithm: name });
      keys.push(sealingKey(await client.getPublicKey({ key: name })));
    }
  });
  afterAll(() => service.dispose());
  beforeEach(() => {
    const made = mkdtempSync(join(tmpdir(), 'stathera-sealed-'));
    folder = made;
    at = (name) => join(made, name);
    onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  });

  async function holderOf(...allowed: string[]): Promise<Client> {
    const token = await client.createToken({ name: 'holder', scopes: ['keys:decrypt'], keys: allowed });
    return createClient({ url: service.url, credentials: token.secret });
  }

  /** Guarantees that a message sealed here, without the service, is opened by it, and with what it was sealed with alone. */
  test('a message', async () => {
    const plaintext = Buffer.from('to be kept');
    for (const key of keys) {
      const given = { info: Buffer.from('app'), aad: Buffer.from('row'), aead: 'chacha20-poly1305' } as const;
      const psk = { psk: Buffer.alloc(32, 7), pskId: Buffer.from('which') };
      const message = await sealTo(key, plaintext, { ...given, psk });
      const opened = await client.open({ ...message, ...given, ...psk });
      expect(Buffer.from(opened.plaintext).equals(plaintext)).toBe(true);
      expect(await failure(client.open({ ...message, ...given }))).toMatchObject({
        code: 'exchange/refused',
      });
    }
  });

  /** Guarantees that each recipient opens a sealed file, with a right to its own key alone, and nobody else does. */
  test('a file to several recipients', async () => {
    const plaintext = randomBytes(3_000_000);
    writeFileSync(at('plain'), plaintext);
    const told: (number | undefined)[] = [];
    const onProgress = (done: number, total: number | undefined) => told.push(done, total);
    await sealFile(keys, { from: at('plain'), to: at('sealed'), associatedData, onProgress });
    expect(told.slice(-2)).toEqual([plaintext.length, plaintext.length]);
    for (const name of names) {
      const holder = await holderOf(name);
      const to = at(`opened-${name}`);
      await unsealFile(holder, { from: at('sealed'), to, associatedData, onProgress });
      expect(readFileSync(to).equals(plaintext)).toBe(true);
      expect(statSync(to).mode & 0o777).toBe(0o600);
      expect(told.slice(-2)).toEqual([statSync(at('sealed')).size, statSync(at('sealed')).size]);
      const piped = await collect(unsealFileStream(holder, { from: at('sealed'), associatedData }));
      expect(piped.equals(plaintext)).toBe(true);
    }
    const stranger = await holderOf('nothing');
    for (const [holder, options] of [
      [stranger, { associatedData }],
      [client, {}],
      [client, { associatedData, key: 'other' }],
    ] as const) {
      if ('key' in options) await client.createKey({ name: 'other', purpose: 'exchange' });
      const unsealed = unsealFile(holder, { from: at('sealed'), to: at('wrong'), ...options });
      expect(await failure(unsealed)).toMatchObject({ code: failed });
    }
    const only = unsealFileStream(client, { from: at('sealed'), associatedData, key: 'p256' });
    expect((await collect(only)).equals(plaintext)).toBe(true);
    expect(readdirSync(folder).toSorted()).toEqual(
      ['plain', 'sealed', ...names.map((name) => `opened-${name}`)].toSorted(),
    );
  });

  /** Guarantees that a rotated key opens what was sealed to its old version, and that a disabled one says so. */
  test('rotation and states', async () => {
    await client.createKey({ name: 'turned', purpose: 'exchange' });
    const key = sealingKey(await client.getPublicKey({ key: 'turned' }));
    writeFileSync(at('plain'), 'to be kept');
    await sealFile([key], { from: at('plain'), to: at('sealed') });
    await client.rotateKey({ key: 'turned' });
    const open = async () => (await collect(unsealFileStream(client, { from: at('sealed') }))).toString();
    expect(await open()).toBe('to be kept');
    await client.updateKeyVersion({ key: 'turned', version: 1, state: 'disabled' });
    expect(await failure(open())).toMatchObject({ code: 'key/version-disabled' });
    await client.updateKey({ key: 'turned', state: 'disabled' });
    expect(await failure(open())).toMatchObject({ code: 'key/disabled' });
  });

  /** Guarantees that what is no sealed file is refused, and that a token that may not open is told so. */
  test('bad input', async () => {
    for (const bytes of [new Uint8Array(), randomBytes(10), randomBytes(200_000)]) {
      writeFileSync(at('foreign'), bytes);
      for (const work of [
        () => unsealFile(client, { from: at('foreign'), to: at('out') }),
        () => collect(unsealFileStream(client, { from: at('foreign') })),
      ])
        expect(await failure(work())).toMatchObject({ code: failed });
    }
    writeFileSync(at('plain'), 'x');
    await sealFile(keys, { from: at('plain'), to: at('sealed') });
    const token = await client.createToken({ name: 'encrypts', scopes: ['keys:encrypt'] });
    const sealer = createClient({ url: service.url, credentials: token.secret });
    expect(await failure(unsealFile(sealer, { from: at('sealed'), to: at('out') }))).toMatchObject({
      code: 'access/denied',
    });
    expect(readdirSync(folder).toSorted()).toEqual(['foreign', 'plain', 'sealed']);
  });
});
