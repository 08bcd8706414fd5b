import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { checkValue } from '../../src/crypto/check-value.ts';
import { unwrapKey, wrapKey } from '../../src/crypto/key-wrap.ts';
import { hex, largeSetGroups, numberedGroups } from '../support/vectors.ts';

interface WrapCase {
  readonly key: string;
  readonly msg: string;
  readonly ct: string;
  readonly flags: readonly string[];
  readonly result: string;
}

/** RFC 5649 §6 has keys of 192 bits; these are its two. */
const published = [
  [
    'c37b7e6492584340bed12207808941155068f738',
    '138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a',
  ],
  ['466f7250617369', 'afbeb0f07dfbf5419200f2ccb50bb24f'],
] as const;

/** Guarantees the answers of the RFC, both ways. */
test('RFC 5649 section 6', () => {
  const kek = hex('5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8');
  for (const [key, wrapped] of published) {
    expect(Buffer.from(wrapKey(kek, hex(key))).toString('hex')).toBe(wrapped);
    expect(Buffer.from(unwrapKey(kek, hex(wrapped)) ?? []).toString('hex')).toBe(key);
  }
});

/**
 * Guarantees every published answer and the refusal of every forgery. Of valid ones, an empty key is never wrapped here;
 * what RFC 5649 lets be short or odd opens as it is, since its length is checked by who asks.
 */
test.for(numberedGroups(largeSetGroups<WrapCase>('wycheproof/aes_kwp_test')))(
  'wycheproof/aes_kwp_test group $index',
  ({ cases }, { skip }) => {
    skip(cases.length === 0, 'the set is not at hand');
    for (const { key, msg, ct, result } of cases) {
      const opened = unwrapKey(hex(key), hex(ct));
      if (result === 'invalid') expect(opened).toBeUndefined();
      else expect(Buffer.from(opened ?? [1]).toString('hex')).toBe(msg);
      if (result === 'valid') expect(Buffer.from(wrapKey(hex(key), hex(msg))).toString('hex')).toBe(ct);
    }
  },
);

/** Guarantees that check values are OpenSSL's MACs of 16 zero bytes, with keys of every length. */
test('check values', () => {
  const openssl = (key: Uint8Array, ...args: string[]) =>
    execFileSync(
      '/usr/bin/openssl',
      ['mac', '-macopt', `hexkey:${Buffer.from(key).toString('hex')}`, ...args],
      {
        input: Buffer.alloc(16),
      },
    );
  for (let round = 0; round < 8; round += 1) {
    for (const [bytes, ...args] of [
      [16, '-cipher', 'AES-128-CBC', '-binary', 'CMAC'],
      [24, '-cipher', 'AES-192-CBC', '-binary', 'CMAC'],
      [32, '-cipher', 'AES-256-CBC', '-binary', 'CMAC'],
      [48, '-digest', 'SHA384', '-binary', 'HMAC'],
      [64, '-digest', 'SHA512', '-binary', 'HMAC'],
    ] as const) {
      const key = randomBytes(bytes);
      expect(Buffer.from(checkValue(key))).toEqual(openssl(key, ...args).subarray(0, 5));
    }
  }
  expect(() => checkValue(new Uint8Array(20))).toThrow(RangeError);
});
