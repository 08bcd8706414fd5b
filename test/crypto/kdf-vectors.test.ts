import { createHmac, createSecretKey } from 'node:crypto';
import { expect, test } from 'vitest';
import { deriveCounterMode, hkdf } from '../../src/crypto/kdf.ts';
import { committedCases, hex, largeSetGroups, numberedGroups } from '../support/vectors.ts';

interface HkdfCase {
  readonly ikm: string;
  readonly salt: string;
  readonly info: string;
  readonly size: number;
  readonly okm: string;
  readonly result?: string;
}

function derive({ ikm, salt, info, size }: HkdfCase): Uint8Array {
  return hkdf('sha256', { secret: hex(ikm), salt: hex(salt), info: hex(info), bytes: size });
}

/** Guarantees HKDF-SHA-256 as RFC 5869 publishes it. */
test('committed vectors: HKDF-SHA-256', () => {
  for (const published of committedCases<HkdfCase>('hkdf-sha256')) {
    expect(derive(published)).toEqual(hex(published.okm));
  }
});

const largeSet = 'wycheproof/hkdf_sha256_test';
/** Guarantees every published answer of the group, and the refusal of lengths HKDF cannot give. */
test.for(numberedGroups(largeSetGroups<HkdfCase>(largeSet)))(
  `${largeSet} group $index`,
  ({ cases }, { skip }) => {
    skip(cases.length === 0, 'the set is not at hand');
    for (const published of cases) {
      if (published.result === 'invalid') expect(() => derive(published)).toThrow(RangeError);
      else expect(derive(published)).toEqual(hex(published.okm));
    }
  },
);

interface CounterModeCase {
  readonly key: string;
  readonly label: string;
  readonly context: string;
  readonly bytes: number;
  readonly derived: string;
}

/** Guarantees SP 800-108 counter mode as RFC 8009 publishes it. */
test('committed vectors: SP 800-108 counter mode', async () => {
  for (const { key, label, context, bytes, derived } of committedCases<CounterModeCase>(
    'sp800-108-counter',
  )) {
    const prf = async (data: Uint8Array): Promise<Uint8Array> =>
      createHmac('sha256', createSecretKey(hex(key)))
        .update(data)
        .digest();
    expect(await deriveCounterMode(prf, { label, context: hex(context), bytes })).toEqual(hex(derived));
  }
});
