import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type MessageKey, openMessage, sealMessage, xaesKey, xchachaKey } from '../../src/crypto/aead.ts';
import { hchacha20, referenceCmacBlock, referenceOpen, referenceSeal } from '../support/reference-aead.ts';
import { committedCases, hex, largeSetGroups, numberedGroups } from '../support/vectors.ts';

interface AeadCase {
  readonly key: string;
  readonly iv: string;
  readonly aad: string;
  readonly msg: string;
  readonly ct: string;
  readonly tag: string;
  readonly result: string;
}

type KeyOf = (key: Uint8Array, nonce: Uint8Array) => MessageKey | Promise<MessageKey>;

const chachaKey: KeyOf = (key, nonce) => ({ cipher: 'chacha20-poly1305', key, nonce });
const xaesKeyOf: KeyOf = (key, nonce) => xaesKey(async (block) => referenceCmacBlock(key, block), nonce);

/** @returns how many cases it checked */
async function check(keyOf: KeyOf, nonceBytes: number, cases: readonly AeadCase[]): Promise<number> {
  let checked = 0;
  for (const { key, iv, aad, msg, ct, tag, result } of cases) {
    checked += 1;
    const sealed = hex(ct + tag);
    if (iv.length !== 2 * nonceBytes) {
      await expect(async () =>
        sealMessage(await keyOf(hex(key), hex(iv)), hex(aad), hex(msg)),
      ).rejects.toThrow();
      continue;
    }
    const opened = openMessage(await keyOf(hex(key), hex(iv)), hex(aad), sealed);
    if (result !== 'valid') {
      expect(opened).toBeUndefined();
      continue;
    }
    expect(opened && Buffer.from(opened)).toEqual(Buffer.from(hex(msg)));
    const anew = sealMessage(await keyOf(hex(key), hex(iv)), hex(aad), hex(msg));
    expect(Buffer.from(anew)).toEqual(Buffer.from(sealed));
  }
  return checked;
}

describe.each([
  ['chacha20-poly1305', chachaKey, 12],
  ['xchacha20-poly1305', xchachaKey, 24],
  ['xaes-256-gcm', xaesKeyOf, 24],
] as const)('%s', (name, keyOf, nonceBytes) => {
  /** Guarantees the published answers committed with the project, and the refusal of the published forgeries. */
  test('committed vectors', async () => {
    const cases = committedCases<AeadCase>(name);
    expect(await check(keyOf, nonceBytes, cases)).toBe(cases.length);
  });

  /** Guarantees what the specification says, for any key, nonce, AAD and length, and that no bit can change. */
  test('agrees with the specification', async () => {
    const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    const input = fc.record({
      ...{ key: bytes(32), nonce: bytes(nonceBytes) },
      ...{ aad: fc.uint8Array({ maxLength: 100 }), data: fc.uint8Array({ maxLength: 300 }) },
      bit: fc.nat(),
    });
    await fc.assert(
      fc.asyncProperty(input, async ({ key, nonce, aad, data, bit }) => {
        const sealed = sealMessage(await keyOf(key, nonce), aad, data);
        const reference = { suite: name, key, nonce, aad };
        expect(Buffer.from(sealed)).toEqual(referenceSeal(reference, data));
        expect(referenceOpen(reference, sealed)).toEqual(Buffer.from(data));
        const at = (bit >> 3) % sealed.length;
        sealed[at] = (sealed[at] ?? 0) ^ (1 << (bit & 7));
        expect(openMessage(await keyOf(key, nonce), aad, sealed)).toBeUndefined();
        const cut = sealed.subarray(0, bit % 17);
        expect(openMessage(await keyOf(key, nonce), aad, cut)).toBeUndefined();
      }),
    );
  });
});

describe.each([
  ['wycheproof/chacha20_poly1305_test', chachaKey, 12],
  ['wycheproof/xchacha20_poly1305_test', xchachaKey, 24],
] as const)('%s', (name, keyOf, nonceBytes) => {
  /** Guarantees every published answer of the group, and the refusal of every published forgery and nonce size. */
  test.for(numberedGroups(largeSetGroups<AeadCase>(name)))('group $index', async ({ cases }, { skip }) => {
    skip(cases.length === 0, 'the set is not at hand');
    expect(await check(keyOf, nonceBytes, cases)).toBe(cases.length);
  });
});

/** Guarantees the subkey of draft-irtf-cfrg-xchacha-03 §2.2.1, by the reference and by what the service does. */
test('HChaCha20', () => {
  const key = hex('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');
  const nonce = hex('000000090000004a0000000031415927');
  const published = '82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc';
  expect(hchacha20(key, nonce).toString('hex')).toBe(published);
  const { key: subkey, nonce: rest } = xchachaKey(key, Buffer.concat([nonce, Buffer.alloc(8, 7)]));
  expect(Buffer.from(subkey).toString('hex')).toBe(published);
  expect(Buffer.from(rest).toString('hex')).toBe('000000000707070707070707');
});

interface XaesCase extends AeadCase {
  readonly derivedKey: string;
}

/** Guarantees the derived keys that C2SP publishes, and that the halves the HSM gave are wiped. */
test('XAES-256-GCM derives the published keys', async () => {
  for (const { key, iv, derivedKey } of committedCases<XaesCase>('xaes-256-gcm')) {
    const halves: Uint8Array[] = [];
    const derived = await xaesKey(async (block) => {
      halves.push(referenceCmacBlock(hex(key), block));
      return halves.at(-1) ?? block;
    }, hex(iv));
    expect(Buffer.from(derived.key).toString('hex')).toBe(derivedKey);
    expect(halves.map((half) => Buffer.from(half))).toEqual([Buffer.alloc(16), Buffer.alloc(16)]);
  }
});

const accumulated =
  process.env['STATHERA_TEST_SCALE'] === 'nightly'
    ? ([1_000_000, '2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15'] as const)
    : ([10_000, 'e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939'] as const);

/** Guarantees C2SP's accumulated random tests of XAES-256-GCM: so many messages, one published hash. */
test(`XAES-256-GCM, ${accumulated[0]} accumulated tests`, { timeout: 3_600_000 }, async () => {
  const [iterations, published] = accumulated;
  // 56 bytes and two strings of 127.5 on average, with their lengths, each; a little more is enough.
  const stream = createHash('shake128', { outputLength: iterations * 313 + 200_000 }).digest();
  expect(stream.subarray(0, 16).toString('hex')).toBe('7f9c2ba4e88f827d616045507605853e');
  let at = 0;
  const read = (length: number) => stream.subarray(at, (at += length));
  const readString = () => read(read(1)[0] ?? 0);
  const hash = createHash('shake128', { outputLength: 32 });
  for (let index = 0; index < iterations; index++) {
    const [key, nonce, plaintext, aad] = [read(32), read(24), readString(), readString()];
    const messageKey = await xaesKeyOf(key, nonce);
    const sealed = sealMessage(messageKey, aad, plaintext);
    hash.update(sealed);
    const opened = openMessage(messageKey, aad, sealed);
    if (opened === undefined || !plaintext.equals(opened)) throw new Error(`${index} does not open`);
  }
  expect(at).toBeLessThanOrEqual(stream.length);
  expect(hash.digest('hex')).toBe(published);
});
