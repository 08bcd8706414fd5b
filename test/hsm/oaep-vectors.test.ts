import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeOaep, type OaepHash } from '../../src/crypto/oaep.ts';
import { HsmRejected } from '../../src/hsm/hsm.ts';
import { openTestToken, type TestToken } from '../support/token.ts';
import { committedCases, hex, largeSets } from '../support/vectors.ts';

// RSAES-OAEP through the token, which gives the power alone, and the padding taken off as the service does.

interface Case {
  readonly flags: readonly string[];
  readonly ct: string;
  readonly label: string;
  readonly msg: string;
  readonly result: string;
}
interface Group {
  readonly keySize: number;
  readonly sha: string;
  readonly mgfSha: string;
  readonly privateKeyPkcs8: string;
  readonly tests: readonly Case[];
}

const kinds = { 2048: 'rsa-2048-decrypt', 3072: 'rsa-3072-decrypt', 4096: 'rsa-4096-decrypt' } as const;
const hashes: Readonly<Record<string, OaepHash>> = {
  'SHA-256': 'sha256',
  'SHA-384': 'sha384',
  'SHA-512': 'sha512',
};

/**
 * What each flag asks of us. A malformed ciphertext is not tried, a wrong padding must not show how it is wrong: both are
 * one refusal for who asks, told apart here by who refuses.
 */
const judged: Readonly<Record<string, 'opens' | 'refused'>> = {
  Normal: 'opens',
  EncryptionWithLabel: 'opens',
  Constructed: 'opens',
  InvalidOaepPadding: 'refused',
  InvalidCiphertext: 'refused',
};

let token: TestToken;
beforeAll(async () => {
  token = await openTestToken();
});
afterAll(() => token.close());

async function check({ keySize, sha, privateKeyPkcs8, tests }: Group): Promise<number> {
  const [kind, hash] = [kinds[keySize as keyof typeof kinds], hashes[sha]];
  if (kind === undefined || hash === undefined) throw new Error('nothing here has this key or hash');
  const key = token.importKek().importKey(kind, hex(privateKeyPkcs8));
  let checked = 0;
  for (const { flags, ct, label, msg, result } of tests) {
    for (const flag of flags)
      expect([flag, judged[flag]]).toEqual([flag, result === 'valid' ? 'opens' : 'refused']);
    const encoded = await token.hsm.decryptRsa(key, hex(ct)).catch((error: unknown) => {
      if (error instanceof HsmRejected) return undefined;
      throw error;
    });
    const opened = encoded && decodeOaep(hash, encoded, hex(label));
    if (result === 'valid') expect(Buffer.from(opened ?? [1]).toString('hex')).toBe(msg);
    else expect(opened).toBeUndefined();
    if (flags.includes('InvalidOaepPadding')) expect(encoded).toBeDefined();
    checked += 1;
  }
  return checked;
}

/** Guarantees the answers committed with the project. */
test('committed vectors', async () => {
  for (const group of committedCases<Group>('rsa-oaep')) expect(await check(group)).toBe(group.tests.length);
});

describe.each([
  'rsa_oaep_2048_sha256_mgf1sha256_test',
  'rsa_oaep_3072_sha256_mgf1sha256_test',
  'rsa_oaep_4096_sha256_mgf1sha256_test',
  'rsa_oaep_4096_sha512_mgf1sha512_test',
])('%s', (name) => {
  /** Guarantees every published answer, and the refusal of every published forgery, each flag as it is judged above. */
  test('all', async ({ skip }) => {
    const groups = largeSets<Group>(`wycheproof/${name}`);
    skip(groups.length === 0, 'the set is not at hand');
    let checked = 0;
    for (const group of groups) checked += await check(group);
    expect(checked).toBeGreaterThan(30);
  });
});
