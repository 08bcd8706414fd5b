import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient, isStatheraError, wrapKey } from '../../src/client/node/index.ts';
import { type MacAlgorithm, suites } from '../../src/crypto/suites.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { hex, largeSets } from '../support/vectors.ts';

// Published MACs through the whole service: each key is imported, and its MACs are made and verified by the HSM.

interface Case {
  readonly key: string;
  readonly msg: string;
  readonly tag: string;
  readonly flags: readonly string[];
  readonly result: string;
}
interface Group {
  /** Bits. */
  readonly keySize: number;
  readonly tagSize: number;
  readonly tests: readonly Case[];
}

/**
 * What each flag asks of us. `InvalidKeySize` is about keys that AES does not have, which nothing here takes. A key of
 * HMAC of another length than the hash is valid, but none of ours: it is refused as well.
 */
const judged: Readonly<Record<string, 'holds' | 'forged' | 'no key'>> = {
  Pseudorandom: 'holds',
  ModifiedTag: 'forged',
  InvalidKeySize: 'no key',
};

const sets: readonly [string, (keyBits: number) => MacAlgorithm][] = [
  ['hmac_sha256_test', () => 'hmac-sha-256'],
  ['hmac_sha384_test', () => 'hmac-sha-384'],
  ['hmac_sha512_test', () => 'hmac-sha-512'],
  ['aes_cmac_test', (keyBits) => (keyBits === 128 ? 'aes-128-cmac' : 'aes-256-cmac')],
];

let service: TestService;
beforeAll(async () => {
  service = await startTestService();
});
afterAll(() => service.dispose());

const client = () => createClient({ url: service.url, credentials: service.token });

/** Makes `value` the current version of a key. @returns false where the algorithm has no such keys */
async function take(key: string, value: Uint8Array): Promise<boolean> {
  const parameters = await client().getImportParameters({ key });
  if (value.length !== parameters.keyBytes) {
    await expect(wrapKey(parameters, value)).rejects.toBeInstanceOf(RangeError);
    return false;
  }
  await client().importKey({ key, ...(await wrapKey(parameters, value)) });
  return true;
}

async function check(key: string, { tagSize, tests }: Group): Promise<{ judged: number; without: number }> {
  let without = 0;
  let known: string | undefined;
  for (const { key: value, msg, tag, flags, result } of tests) {
    for (const flag of flags) expect(Object.keys(judged)).toContain(flag);
    if (value !== known && !(await take(key, hex(value)))) {
      without += 1;
      continue;
    }
    known = value;
    const given = { key, message: hex(msg), bytes: tagSize / 8 };
    const verdict = await client()
      .verifyMac({ ...given, mac: hex(tag) })
      .then(({ valid }) => valid)
      .catch((error: unknown) => (isStatheraError(error) ? error.code : String(error)));
    expect([flags, verdict]).toEqual([flags, result === 'valid' ? true : 'mac/invalid']);
    expect(flags.map((flag) => judged[flag])).toContain(result === 'valid' ? 'holds' : 'forged');
    const { mac } = await client().mac(given);
    expect(Buffer.from(mac).equals(hex(tag))).toBe(result === 'valid');
  }
  return { judged: tests.length - without, without };
}

describe.each(sets)('wycheproof/%s', (name, algorithmOf) => {
  /** Guarantees every published MAC, whole and cut to half, and the refusal of every forged one. */
  test('all', { timeout: 300_000 }, async ({ skip }) => {
    const groups = largeSets<Group>(`wycheproof/${name}`);
    skip(groups.length === 0, 'the set is not at hand');
    const total = { judged: 0, without: 0 };
    for (const [index, group] of groups.entries()) {
      const algorithm = algorithmOf(group.keySize);
      const key = `${algorithm}-${index}`;
      await client().createKey({ name: key, algorithm, origin: 'external' });
      const done = await check(key, group);
      expect(done.without).toBe(group.keySize === suites[algorithm].keyBytes * 8 ? 0 : group.tests.length);
      total.judged += done.judged;
      total.without += done.without;
    }
    // Of CMAC there are 102 cases with keys of 192 bits and five with keys of none.
    expect(total).toEqual(
      name === 'aes_cmac_test' ? { judged: 204, without: 107 } : { judged: 162, without: 12 },
    );
  });
});
