import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { concatBytes } from '../../src/core/bytes.ts';
import { type GcmInput, HsmRejected, type KeyRef, type MacKind } from '../../src/hsm/hsm.ts';
import { sameKeyAnew, type TestToken } from '../support/token.ts';
import { committedCases, hex, largeSetGroups, numberedGroups } from '../support/vectors.ts';

interface GcmCase {
  readonly key: string;
  readonly iv: string;
  readonly aad: string;
  readonly msg: string;
  readonly ct: string;
  readonly tag: string;
  readonly result: string;
}
interface WrapCase {
  readonly key: string;
  readonly msg: string;
  readonly ct: string;
  readonly result: string;
}
interface MacCase {
  readonly key: string;
  readonly msg: string;
  readonly tag: string;
  readonly result: string;
}

const aesKinds: Readonly<Record<number, 'aes-128' | 'aes-256'>> = { 16: 'aes-128', 32: 'aes-256' };
const kinds: Readonly<Record<number, 'aes-128' | 'hmac-256'>> = { 16: 'aes-128', 32: 'hmac-256' };

async function checkGcm(token: TestToken, cases: readonly GcmCase[]): Promise<number> {
  const kek = token.importKek();
  let checked = 0;
  for (const { key: value, iv, aad, msg, ct, tag, result } of cases) {
    const kind = aesKinds[value.length / 2];
    if (kind === undefined) throw new Error('no kind has this key size');
    const key = kek.importKey(kind, hex(value));
    const sealed = concatBytes(hex(ct), hex(tag));
    const message = (data: Uint8Array): GcmInput => ({ nonce: hex(iv), aad: hex(aad), data });
    if (iv.length !== 24) {
      await expect(token.hsm.decrypt(key, message(sealed))).rejects.toThrow('nonce must be 12 to 12 bytes');
    } else if (result === 'valid') {
      expect(await token.hsm.encrypt(key, message(hex(msg)))).toEqual(sealed);
      expect(await token.hsm.decrypt(key, message(sealed))).toEqual(hex(msg));
    } else {
      await expect(token.hsm.decrypt(key, message(sealed))).rejects.toBeInstanceOf(HsmRejected);
    }
    checked += 1;
  }
  return checked;
}

async function checkWrap(token: TestToken, cases: readonly WrapCase[]): Promise<number> {
  let checked = 0;
  for (const { key: value, msg, ct, result } of cases) {
    checked += 1;
    const kek = token.importKek(hex(value));
    const kind = kinds[msg.length / 2] ?? 'hmac-256';
    const published: KeyRef = { ...sameKeyAnew(kek.ref, hex(ct)), kind, under: kek.ref };
    if (result !== 'valid' || kinds[msg.length / 2] === undefined) {
      await expect(token.hsm.rewrap(published, 'root')).rejects.toBeInstanceOf(HsmRejected);
      continue;
    }
    // Out under the published KEK and in again: the same bytes, since AES-KWP is deterministic.
    const underRoot: KeyRef = {
      ...sameKeyAnew(published, await token.hsm.rewrap(published, 'root')),
      under: 'root',
    };
    expect(await token.hsm.rewrap(underRoot, kek.ref)).toEqual(hex(ct));
  }
  return checked;
}

const checkHmac = (bits: 256 | 384 | 512) => (token: TestToken, cases: readonly MacCase[]) =>
  checkMac(token, () => `hmac-${bits}`, cases);
const cmacKinds: Readonly<Record<number, MacKind>> = { 16: 'cmac-128', 32: 'cmac-256' };
const checkCmac = (token: TestToken, cases: readonly MacCase[]) =>
  checkMac(token, (keyBytes) => cmacKinds[keyBytes], cases);

async function checkMac(
  token: TestToken,
  kindOf: (keyBytes: number) => MacKind | undefined,
  cases: readonly MacCase[],
): Promise<number> {
  const kek = token.importKek();
  let checked = 0;
  for (const { key: value, msg, tag, result } of cases) {
    const kind = kindOf(value.length / 2);
    if (kind === undefined) throw new Error('no kind has this key size');
    const mac = await token.hsm.mac(kek.importKey(kind, hex(value)), hex(msg));
    const published = hex(tag);
    const equal = Buffer.from(mac.subarray(0, published.length)).equals(published);
    expect(equal).toBe(result === 'valid');
    checked += 1;
  }
  return checked;
}

const hasAes = ({ key }: GcmCase): boolean => aesKinds[key.length / 2] !== undefined;
const has256Bits = ({ key }: WrapCase): boolean => key.length === 64;

interface LargeSet<Case> {
  readonly name: string;
  /** False for key sizes the service has no kind for. */
  readonly inScope: (published: Case) => boolean;
  /** @returns how many cases it checked */
  readonly check: (token: TestToken, cases: readonly Case[]) => Promise<number>;
}

/** One test for each group of the set with cases in scope; one that is skipped when the set is not at hand. */
function largeSet<Case>(token: () => TestToken, { name, inScope, check }: LargeSet<Case>): void {
  const groups = largeSetGroups<Case>(name).map((cases) => cases.filter(inScope));
  describe(name, () => {
    /** Guarantees every published answer of the group, and the rejection of every published forgery. */
    test.for(numberedGroups(groups.filter((cases) => cases.length > 0)))(
      'group $index',
      async ({ cases }, { skip }) => {
        skip(cases.length === 0, 'the set is not at hand');
        expect(await check(token(), cases)).toBe(cases.length);
      },
    );
  });
}

interface AcvpGcmCase {
  readonly key: string;
  readonly iv: string;
  readonly aad: string;
  readonly pt?: string;
  readonly ct: string;
  readonly tag: string;
  readonly testPassed: boolean;
}
const asGcmCase = ({ pt, testPassed, ...rest }: AcvpGcmCase): GcmCase => ({
  ...rest,
  msg: pt ?? '',
  result: testPassed ? 'valid' : 'invalid',
});
/** Published answers through the adapter and the token. @param open gives a token of its own, once a suite */
export function vectorsContract(name: string, open: () => Promise<TestToken>): void {
  describe(name, () => {
    let token: TestToken;
    beforeAll(async () => {
      token = await open();
    });
    afterAll(() => token.close());

    /** Guarantees the published answers committed with the project, through the adapter and the token. */
    test('committed vectors: AES-GCM', async () => {
      const cases = committedCases<GcmCase>('aes-gcm');
      expect(await checkGcm(token, cases)).toBe(cases.length);
    });

    /** Guarantees the same for AES key wrap with padding. */
    test('committed vectors: AES-KWP', async () => {
      const cases = committedCases<WrapCase>('aes-kwp');
      expect(await checkWrap(token, cases)).toBe(cases.length);
    });

    /** Guarantees the same for HMAC. */
    test.each([256, 384, 512] as const)('committed vectors: HMAC-SHA-%d', async (bits) => {
      const cases = committedCases<MacCase>(`hmac-sha${bits}`);
      expect(await checkHmac(bits)(token, cases)).toBe(cases.length);
    });

    /** Guarantees the same for AES-CMAC. */
    test('committed vectors: AES-CMAC', async () => {
      const cases = committedCases<MacCase>('aes-cmac');
      expect(await checkCmac(token, cases)).toBe(cases.length);
    });

    largeSet<GcmCase>(() => token, { name: 'wycheproof/aes_gcm_test', inScope: hasAes, check: checkGcm });
    largeSet<WrapCase>(() => token, {
      name: 'wycheproof/aes_kwp_test',
      inScope: has256Bits,
      check: checkWrap,
    });
    for (const bits of [256, 384, 512] as const) {
      largeSet<MacCase>(() => token, {
        name: `wycheproof/hmac_sha${bits}_test`,
        inScope: ({ key }) => key.length * 4 === bits,
        check: checkHmac(bits),
      });
    }
    largeSet<MacCase>(() => token, {
      name: 'wycheproof/aes_cmac_test',
      inScope: ({ key }) => cmacKinds[key.length / 2] !== undefined,
      check: checkCmac,
    });

    largeSet<AcvpGcmCase>(() => token, {
      name: 'acvp/ACVP-AES-GCM-1.0.internalProjection',
      inScope: (published) => hasAes(asGcmCase(published)),
      check: (under, cases) => checkGcm(under, cases.map(asGcmCase)),
    });
  });
}
