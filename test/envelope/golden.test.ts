import { createCipheriv, createDecipheriv } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ServiceError } from '../../src/core/errors.ts';
import { idBytes, newId } from '../../src/core/ids.ts';
import { type Algorithm, suites } from '../../src/crypto/suites.ts';
import { type CiphertextKind, type Context, parseCiphertext } from '../../src/envelope/format.ts';
import { createMessages } from '../../src/envelope/messages.ts';
import type { Hsm } from '../../src/hsm/hsm.ts';
import { type KeyVersion, versionIdBytes } from '../../src/keys/key.ts';
import { type KnownKek, openTestToken, type TestToken } from '../support/token.ts';
import { committedCases, hex } from '../support/vectors.ts';
import { base64, overwritten } from './support.ts';

interface Golden {
  readonly comment: string;
  readonly suite: Algorithm;
  readonly kind: CiphertextKind;
  readonly key: string;
  readonly namespaceId: string;
  readonly keyId: string;
  readonly versionId: string;
  readonly messageId: string;
  readonly context: Context;
  readonly aad: string;
  readonly plaintext: string;
  /** Base64. */
  readonly ciphertext: string;
}

const golden = committedCases<Golden>('envelope/format-1');

let token: TestToken;
let kek: KnownKek;
beforeAll(async () => {
  token = await openTestToken();
  kek = token.importKek();
});
afterAll(() => token.close());

/** A version whose key the test knows. */
function knownVersion(
  suite: Algorithm,
  key: Uint8Array,
  ids: Partial<Pick<KeyVersion, 'id' | 'keyId' | 'namespaceId'>> = {},
): KeyVersion {
  const { id = newId(), keyId = newId(), namespaceId = newId() } = ids;
  return {
    ...{ id, keyId, namespaceId, ordinal: 1, state: 'enabled', suite: suites[suite] },
    ref: kek.importKey(suites[suite].keyKind, key),
    idBytes: versionIdBytes({ id, keyId, namespaceId }),
  };
}

function parsed(ciphertext: Uint8Array) {
  const fields = parseCiphertext(ciphertext);
  if (!fields) throw new Error('not a ciphertext');
  return fields;
}

// From here on to the tests: src/envelope/README.md word for word, with nothing of the service.

function prefixed(...fields: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    fields.flatMap((field) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(field.length);
      return [length, field];
    }),
  );
}

function aadBySpec(first52: Uint8Array, namespaceId: string, context: Context): Buffer {
  const pairs = Object.entries(context).map(
    ([name, value]) => [Buffer.from(name), Buffer.from(value)] as const,
  );
  pairs.sort(([a], [b]) => Buffer.compare(a, b));
  const label = Buffer.from('stathera/envelope/direct/v1', 'ascii');
  const namespace = Buffer.from(namespaceId.replaceAll('-', ''), 'hex');
  return prefixed(label, first52, namespace, prefixed(...pairs.flat()));
}

function openBySpec(ciphertext: Uint8Array, key: Uint8Array, namespaceId: string, context: Context) {
  const bytes = Buffer.from(ciphertext);
  const suite = ({ 1: 'aes-256-gcm', 2: 'aes-128-gcm' } as const)[bytes[2] as 1 | 2];
  const decipher = createDecipheriv(suite, key, bytes.subarray(52, 64));
  const aad = aadBySpec(bytes.subarray(0, 52), namespaceId, context);
  decipher.setAAD(aad).setAuthTag(bytes.subarray(-16));
  const data = Buffer.concat([decipher.update(bytes.subarray(64, -16)), decipher.final()]);
  return {
    ...{
      magic: bytes[0],
      format: bytes[1],
      suite,
      kind: ({ 1: 'message', 2: 'data-key' } as const)[bytes[3] as 1 | 2],
    },
    ...{ keyId: bytes.subarray(4, 20), versionId: bytes.subarray(20, 36), messageId: bytes.subarray(36, 52) },
    ...{ aad, commitment: data.subarray(0, 32), plaintext: data.subarray(32) },
  };
}

/** Guarantees that no golden ciphertext was removed: every suite, kind and four contexts are there. */
test('the golden ciphertexts cover every suite, kind and four contexts', () => {
  const kinds = golden.map(({ suite, kind, context }) => `${suite} ${kind} ${Object.keys(context).length}`);
  const expected = Object.keys(suites).flatMap((suite) =>
    ['message', 'data-key'].flatMap((kind) => [0, 1, 3, 6].map((pairs) => `${suite} ${kind} ${pairs}`)),
  );
  expect(kinds.toSorted()).toEqual(expected.toSorted());
});

/** Guarantees that ciphertexts of every format and suite stay readable for ever, by the code that serves requests. */
test.each(golden)('$comment', async (given) => {
  const ids = { id: given.versionId, keyId: given.keyId, namespaceId: given.namespaceId };
  const version = knownVersion(given.suite, hex(given.key), ids);
  const fields = parsed(Buffer.from(given.ciphertext, 'base64'));
  expect(fields.suite.name).toBe(given.suite);
  expect(fields.kind).toBe(given.kind);
  expect(Buffer.from(fields.keyId)).toEqual(Buffer.from(idBytes(given.keyId)));
  expect(Buffer.from(fields.versionId)).toEqual(Buffer.from(idBytes(given.versionId)));
  expect(Buffer.from(fields.messageId).toString('hex')).toBe(given.messageId);
  const opened = await createMessages(token.hsm).open(version, fields, given.context);
  expect(Buffer.from(opened).toString('hex')).toBe(given.plaintext);
});

/** Guarantees that the written format is enough to read a ciphertext: header, authenticated bytes and commitment, byte for byte. */
test.each(golden)('$comment, from the written format', (given) => {
  const ciphertext = Buffer.from(given.ciphertext, 'base64');
  const opened = openBySpec(ciphertext, hex(given.key), given.namespaceId, given.context);
  expect(opened).toMatchObject({ magic: 0x53, format: 1, suite: given.suite, kind: given.kind });
  expect(opened.aad.toString('hex')).toBe(given.aad);
  expect(opened.commitment).toEqual(Buffer.alloc(32));
  expect(opened.plaintext.toString('hex')).toBe(given.plaintext);
});

/** Guarantees that what the service makes is what the written format says, for any plaintext and context. */
test('the service keeps to the written format', async () => {
  const messages = createMessages(token.hsm);
  const input = fc.record({
    suite: fc.constantFrom<Algorithm>('aes-256-gcm', 'aes-128-gcm'),
    kind: fc.constantFrom<CiphertextKind>('message', 'data-key'),
    plaintext: fc.uint8Array({ maxLength: 300 }),
    context: fc.dictionary(
      fc.string({ unit: 'grapheme', maxLength: 8 }),
      fc.string({ unit: 'grapheme', maxLength: 8 }),
    ),
  });
  const keys = { 'aes-256-gcm': Buffer.alloc(32, 5), 'aes-128-gcm': Buffer.alloc(16, 6) };
  const versions = {
    'aes-256-gcm': knownVersion('aes-256-gcm', keys['aes-256-gcm']),
    'aes-128-gcm': knownVersion('aes-128-gcm', keys['aes-128-gcm']),
  };
  await fc.assert(
    fc.asyncProperty(input, async ({ suite, kind, plaintext, context }) => {
      const version = versions[suite];
      const sealed = await messages.seal(version, { kind, plaintext, context });
      const opened = openBySpec(sealed, keys[suite], version.namespaceId, context);
      expect(opened).toMatchObject({ magic: 0x53, format: 1, suite, kind, commitment: Buffer.alloc(32) });
      expect(opened.keyId).toEqual(Buffer.from(idBytes(version.keyId)));
      expect(opened.versionId).toEqual(Buffer.from(idBytes(version.id)));
      expect(opened.plaintext).toEqual(Buffer.from(plaintext));
    }),
    { numRuns: 100 },
  );
});

describe('key commitment', () => {
  const key = Buffer.alloc(32, 7);
  const context = { a: 'b' };
  const failed = { code: 'envelope/decryption-failed' };

  /** A ciphertext that is sound AES-GCM under `key`, with any first 32 bytes. */
  function sealedWith(version: KeyVersion, commitment: Uint8Array, plaintext: Uint8Array): Buffer {
    const ids = [idBytes(version.keyId), idBytes(version.id), Buffer.alloc(16, 1)];
    const first52 = Buffer.concat([Buffer.of(0x53, 1, 1, 1), ...ids]);
    const nonce = Buffer.alloc(12, 2);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(aadBySpec(first52, version.namespaceId, context));
    const body = [cipher.update(Buffer.concat([commitment, plaintext])), cipher.final(), cipher.getAuthTag()];
    return Buffer.concat([first52, nonce, ...body]);
  }

  /** Guarantees that a ciphertext with a sound tag and another commitment is refused, by decrypt and by rewrap alike. */
  test('a sound tag is not enough', async () => {
    const messages = createMessages(token.hsm);
    const version = knownVersion('aes-256-gcm', key);
    const zeros = Buffer.alloc(32);
    const sound = parsed(sealedWith(version, zeros, Buffer.from('text')));
    expect(Buffer.from(await messages.open(version, sound, context)).toString()).toBe('text');
    const commitments = [0, 7, 100, 128, 255].map((bit) =>
      overwritten(zeros, bit >> 3, Uint8Array.of(1 << (bit & 7))),
    );
    for (const commitment of [...commitments, Buffer.alloc(32, 0xff)]) {
      const forged = parsed(sealedWith(version, commitment, Buffer.from('text')));
      await expect(messages.open(version, forged, context)).rejects.toMatchObject(failed);
      await expect(
        messages.reseal({ version, parsed: forged, context }, { version, context: {} }),
      ).rejects.toMatchObject(failed);
    }
    expect(base64(sound.sealed.subarray(0, 8))).not.toBe(base64(zeros.subarray(0, 8)));
  });

  /** An HSM that lets the test see what it gave out. */
  function watched(): { hsm: Hsm; given: Uint8Array[]; calls: number } {
    const seen = { hsm: token.hsm, given: [] as Uint8Array[], calls: 0 };
    seen.hsm = {
      ...token.hsm,
      async decrypt(ref, input) {
        seen.calls += 1;
        const data = await token.hsm.decrypt(ref, input);
        seen.given.push(data);
        return data;
      },
    };
    return seen;
  }

  /** Guarantees that a refused plaintext does not stay in memory, and that none is fetched to seal it anew. */
  test('plaintexts are wiped', async () => {
    const seen = watched();
    const messages = createMessages(seen.hsm);
    const version = knownVersion('aes-256-gcm', key);
    const forged = parsed(sealedWith(version, Buffer.alloc(32, 1), Buffer.from('secret')));
    await expect(messages.open(version, forged, context)).rejects.toMatchObject(failed);
    expect(seen.given.map((data) => Buffer.from(data))).toEqual([Buffer.alloc(38)]);
    const sound = parsed(sealedWith(version, Buffer.alloc(32), Buffer.from('secret')));
    const anew = parsed(await messages.reseal({ version, parsed: sound, context }, { version, context }));
    expect(seen.calls).toBe(1);
    expect(Buffer.from(await messages.open(version, anew, context)).toString()).toBe('secret');
  });

  /** Guarantees that a suite other than the version's is refused without asking the HSM. */
  test('another suite is refused', async () => {
    const seen = watched();
    const version = knownVersion('aes-128-gcm', Buffer.alloc(16, 1));
    const other = parsed(sealedWith(version, Buffer.alloc(32), Buffer.from('text')));
    await expect(createMessages(seen.hsm).open(version, other, context)).rejects.toMatchObject(failed);
    expect(seen.calls).toBe(0);
  });

  /** Guarantees that a failing device is told apart from a bad ciphertext: nobody throws data away for it. */
  test('a failing device is not a bad ciphertext', async () => {
    const down = new ServiceError('hsm/unavailable', 'Down.');
    const messages = createMessages({ ...token.hsm, decrypt: () => Promise.reject(down) });
    const version = knownVersion('aes-256-gcm', key);
    const sound = parsed(sealedWith(version, Buffer.alloc(32), Buffer.from('text')));
    await expect(messages.open(version, sound, context)).rejects.toBe(down);
  });
});
