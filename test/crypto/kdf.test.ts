import { createHmac, createSecretKey, hkdfSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { utf8 } from '../../src/core/bytes.ts';
import { deriveCounterMode, hkdf, type Prf } from '../../src/crypto/kdf.ts';

const key = createSecretKey(Buffer.alloc(32, 9));
const hmac = (data: Uint8Array) => createHmac('sha256', key).update(data).digest();
const prf: Prf = async (data) => hmac(data);
const context = utf8('context');

/** SP 800-108r1 §4.1 word for word, one block after the other. */
function reference(label: string, bytes: number): Buffer {
  const blocks: Buffer[] = [];
  for (let counter = 1; blocks.length * 32 < bytes; counter += 1) {
    const [i, l] = [Buffer.alloc(4), Buffer.alloc(4)];
    i.writeUInt32BE(counter);
    l.writeUInt32BE(bytes * 8);
    blocks.push(hmac(Buffer.concat([i, Buffer.from(label), Buffer.of(0), context, l])));
  }
  return Buffer.concat(blocks).subarray(0, bytes);
}

/** Guarantees counter mode at the borders of a block and at its longest output. */
test.each([1, 31, 32, 33, 64, 65, 8160])('counter mode gives %i bytes', async (bytes) => {
  const derived = await deriveCounterMode(prf, { label: 'label', context, bytes });
  expect(Buffer.from(derived)).toEqual(reference('label', bytes));
});

/** Guarantees that length, label and context each change all of the output: no output is the start of another. */
test('counter mode binds length, label and context', async () => {
  const derive = async (label: string, of: Uint8Array, bytes: number) =>
    Buffer.from(await deriveCounterMode(prf, { label, context: of, bytes }))
      .toString('hex')
      .slice(0, 32);
  const outputs = await Promise.all([
    derive('label', context, 32),
    derive('label', context, 33),
    derive('label', context, 64),
    derive('labe', utf8('lcontext'), 32),
    derive('labels', context, 32),
    derive('label', utf8('contexts'), 32),
    derive('label', new Uint8Array(0), 32),
  ]);
  expect(new Set(outputs).size).toBe(outputs.length);
});

/** Guarantees that lengths out of bounds and labels with NUL are refused, not cut or wrapped round. */
test('counter mode refuses what it cannot give', async () => {
  for (const bytes of [0, -1, 1.5, 8161, Number.NaN, 2 ** 29]) {
    await expect(deriveCounterMode(prf, { label: 'label', context, bytes })).rejects.toThrow(RangeError);
  }
  await expect(deriveCounterMode(prf, { label: 'la\0bel', context, bytes: 32 })).rejects.toThrow(RangeError);
});

/** Guarantees that the blocks handed out by the PRF are wiped, and the derived bytes are a copy. */
test('counter mode wipes its blocks', async () => {
  const blocks: Uint8Array[] = [];
  const keeping: Prf = async (data) => {
    const block = hmac(data);
    blocks.push(block);
    return block;
  };
  const derived = await deriveCounterMode(keeping, { label: 'label', context, bytes: 40 });
  expect(blocks).toHaveLength(2);
  for (const block of blocks) expect([...block].every((byte) => byte === 0)).toBe(true);
  expect(Buffer.from(derived)).toEqual(reference('label', 40));
});

/** Guarantees HKDF for every hash at its shortest and longest output, and refusal beyond. */
test.each([
  ['sha256', 32],
  ['sha384', 48],
  ['sha512', 64],
] as const)('HKDF-%s within its bounds', (hash, hashBytes) => {
  const input = { secret: utf8('secret'), salt: new Uint8Array(0), info: utf8('info') };
  for (const bytes of [1, hashBytes, hashBytes + 1, 255 * hashBytes]) {
    const expected = Buffer.from(hkdfSync(hash, input.secret, input.salt, input.info, bytes));
    expect(Buffer.from(hkdf(hash, { ...input, bytes }))).toEqual(expected);
  }
  for (const bytes of [0, -1, 2.5, 255 * hashBytes + 1]) {
    expect(() => hkdf(hash, { ...input, bytes })).toThrow(RangeError);
  }
});

/** Guarantees that secret, salt and info each matter. */
test('HKDF binds its inputs', () => {
  const base = { secret: utf8('secret'), salt: utf8('salt'), info: utf8('info'), bytes: 32 };
  const variants = [
    base,
    { ...base, secret: utf8('Secret') },
    { ...base, salt: utf8('Salt') },
    { ...base, info: utf8('Info') },
  ];
  const outputs = variants.map((variant) => Buffer.from(hkdf('sha256', variant)).toString('hex'));
  expect(new Set(outputs).size).toBe(variants.length);
});
