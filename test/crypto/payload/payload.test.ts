import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isSameDataKey, parsePayloadHeader } from '../../../src/crypto/payload/format.ts';
import { sealedBytes } from '../../../src/crypto/payload/segments.ts';
import { committedCases } from '../../support/vectors.ts';
import { bothCiphers, bytesOf, open, sealMessage, sealStream, wrappedOf } from './support.ts';
import { writtenMessage, writtenStream } from './written.ts';

interface Golden {
  readonly name: string;
  readonly kind: 'message' | 'stream';
  readonly dataKey: string;
  readonly associatedData: string;
  readonly plaintextBytes: number;
  readonly plaintextSha256: string;
  readonly ciphertext: string;
}

/** Guarantees that what was made once, by the written format, opens for ever. */
test.each(bothCiphers)('opens golden ciphertexts with %s', async (_, ciphers) => {
  const cases = committedCases<Golden>('payload/format-2');
  expect(new Set(cases.map(({ kind }) => kind))).toEqual(new Set(['message', 'stream']));
  for (const golden of cases) {
    const given = {
      dataKey: Buffer.from(golden.dataKey, 'hex'),
      associatedData: Buffer.from(golden.associatedData),
    };
    const opened = await open(ciphers, given, Buffer.from(golden.ciphertext, 'base64'));
    expect(opened, golden.name).toHaveLength(golden.plaintextBytes);
    expect(
      createHash('sha256')
        .update(opened ?? '')
        .digest('hex'),
    ).toBe(golden.plaintextSha256);
  }
});

const given = { dataKey: bytesOf('key', 32), associatedData: Buffer.from('table/row') };
const wrapped = wrappedOf('wrapped');
/** Around the borders of segments, and anywhere. */
const lengths = fc.oneof(
  fc.constantFrom(0, 1, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073),
  fc.nat(300_000),
);
const pieces = fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 5 });

/** Guarantees that streams of any length, cut anyhow, are as the format says, and open again in both libraries. */
test.each(bothCiphers)('seals streams with %s as they are written', async (_, ciphers) => {
  const run = async (length: number, sealing: number[], opening: number[]) => {
    const plaintext = bytesOf(`plaintext/${length}`, length);
    const sealed = await sealStream(ciphers, given, wrapped, { plaintext, lengths: sealing });
    const header = parsePayloadHeader(sealed);
    if (header === undefined || header === 'incomplete') throw new Error('no header');
    expect(sealed).toHaveLength(header.headerBytes + sealedBytes(length));
    const written = writtenStream({ ...given, wrapped, plaintext }, Buffer.from(header.salt ?? []));
    expect(sealed.equals(written)).toBe(true);
    for (const [, other] of bothCiphers) {
      const opened = await open(other, given, sealed, opening);
      expect(opened?.equals(plaintext)).toBe(true);
    }
  };
  await fc.assert(fc.asyncProperty(lengths, pieces, pieces, run), { numRuns: 30 });
});

/** Guarantees that messages are as the format says, and open again in both libraries. */
test.each(bothCiphers)('seals messages with %s as they are written', async (_, ciphers) => {
  const run = async (plaintext: Uint8Array, associatedData: Uint8Array) => {
    const place = { dataKey: given.dataKey, associatedData };
    const sealed = await sealMessage(ciphers, place, wrapped, plaintext);
    const nonce = sealed.subarray(182, 194);
    expect(Buffer.from(sealed).equals(writtenMessage({ ...place, wrapped, plaintext }, nonce))).toBe(true);
    for (const [, other] of bothCiphers)
      expect(await open(other, place, sealed)).toEqual(Buffer.from(plaintext));
  };
  const bytes = fc.uint8Array({ maxLength: 2_000 });
  await fc.assert(fc.asyncProperty(bytes, bytes, run), { numRuns: 50 });
});

/** Guarantees that salts and nonces are drawn anew: nothing made twice looks the same. */
test.each(bothCiphers)('draws anew with %s', async (_, ciphers) => {
  const plaintext = bytesOf('twice', 100);
  const seal = () => sealMessage(ciphers, given, wrapped, plaintext);
  expect(await seal()).not.toEqual(await seal());
  const stream = () => sealStream(ciphers, given, wrapped, { plaintext });
  const [first, second] = [await stream(), await stream()];
  expect(first.subarray(150).equals(second.subarray(150))).toBe(false);
});

/** Guarantees that what is no header is told from one that more bytes make whole. */
test('reads headers', () => {
  const sealed = writtenStream({ ...given, wrapped, plaintext: bytesOf('x', 5) }, bytesOf('salt', 32));
  for (let length = 0; length < 214; length += 1)
    expect(parsePayloadHeader(sealed.subarray(0, length)), String(length)).toBe('incomplete');
  expect(parsePayloadHeader(sealed)).toMatchObject({ kind: 'stream', headerBytes: 214, wrapped });
  const foreign: [number, number][] = [
    [0, 0x54],
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 2],
    [5, 111],
    [6, 0],
    [7, 2],
    [9, 1],
  ];
  for (const [at, byte] of foreign) {
    const changed = Buffer.from(sealed);
    changed[at] = byte;
    expect(parsePayloadHeader(changed), `byte ${at}`).toBeUndefined();
  }
});

/** Guarantees that a wrapped data key is known again after a rewrap, and that nothing else is taken for it. */
test('knows a data key by its id', () => {
  const rewrapped = wrappedOf('another', 156);
  expect(isSameDataKey(wrapped, rewrapped)).toBe(false);
  rewrapped.set(wrapped.subarray(36, 52), 36);
  expect(isSameDataKey(wrapped, rewrapped)).toBe(true);
  rewrapped[3] = 1;
  expect(isSameDataKey(wrapped, rewrapped)).toBe(false);
  expect(isSameDataKey(wrapped, new Uint8Array())).toBe(false);
});
