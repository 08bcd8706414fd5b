import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { recipientContext, schedule, senderContext } from '../../../src/crypto/hpke/context.ts';
import { encapsulateWith, hpkeKems } from '../../../src/crypto/hpke/kem.ts';
import { type HpkeSuite, hpkeSuite } from '../../../src/crypto/hpke/suites.ts';
import { p256, x25519Agreement } from '../../../src/crypto/kem/curves.ts';
import { committedCases, hex } from '../../support/vectors.ts';
import { hexOf, largeText } from '../kem/support.ts';
import { aeadNumbers, kemNumbers } from './support.ts';

// Published answers, both sides of each. Encapsulation of ours draws its randomness: of DHKEM the ephemeral key pair is
// given instead, as published; of ML-KEM and X-Wing the published ciphertext is opened, and what ours seal is opened in
// interop.test.ts. Suites that are not offered (HKDF-SHA384 and -SHA512, the draft's one-step KDFs, DHKEM over P-384,
// P-521, X448 and secp256k1, ML-KEM-512 and -1024, the other hybrids) are counted, so that none is left out unseen.

interface HpkeCase {
  readonly mode: number | string;
  readonly kem_id: number | string;
  readonly kdf_id: number | string;
  readonly aead_id: number | string;
  readonly info: string;
  readonly skRm: string;
  readonly pkRm: string;
  readonly skSm?: string;
  readonly pkSm?: string;
  readonly skEm?: string;
  readonly pkEm?: string;
  readonly psk?: string;
  readonly psk_id?: string;
  readonly enc: string;
  readonly shared_secret: string;
  readonly encryptions: readonly { aad: string; ct: string; pt: string }[];
  readonly exports: readonly { exporter_context: string; L: number; exported_value: string }[];
}

type Accumulated = Omit<HpkeCase, 'encryptions' | 'exports' | 'shared_secret'> & {
  readonly encryptions_accumulated?: string;
  readonly exports_accumulated: string;
};

/** Undefined for a suite that is not offered. */
function suiteOf({ kem_id, kdf_id, aead_id }: Pick<HpkeCase, 'kem_id' | 'kdf_id' | 'aead_id'>) {
  const kem = kemNumbers[Number(kem_id)];
  const aead = aeadNumbers[Number(aead_id)];
  return kem && aead && Number(kdf_id) === 1 ? hpkeSuite(kem, aead) : undefined;
}

const some = (text: string | undefined) => (text ? hex(text) : undefined);

async function check(suite: HpkeSuite, published: HpkeCase): Promise<void> {
  const { kem } = suite;
  const recipient = { seed: hex(published.skRm), publicKey: hex(published.pkRm) };
  const { enc } = published;
  const senderPublicKey = some(published.pkSm);
  const secret = await hpkeKems[kem].decapsulate(hex(enc), recipient, senderPublicKey);
  expect(hexOf(secret)).toBe(published.shared_secret);
  const seed = some(published.skEm);
  if (seed && (kem === 'x25519' || kem === 'p256')) {
    const curve = kem === 'x25519' ? x25519Agreement : p256;
    const publicKey = curve.publicKeyOf(seed);
    expect(hexOf(publicKey)).toBe(published.pkEm);
    const sender =
      senderPublicKey === undefined
        ? undefined
        : { seed: hex(published.skSm ?? ''), publicKey: senderPublicKey };
    const made = await encapsulateWith(
      { seed, publicKey: publicKey ?? new Uint8Array() },
      { name: kem, curve, publicKey: recipient.publicKey, sender },
    );
    expect([hexOf(made?.enc), hexOf(made?.sharedSecret)]).toEqual([enc, published.shared_secret]);
  }
  const scheduled = () =>
    schedule(suite, {
      sharedSecret: hex(published.shared_secret),
      info: hex(published.info),
      ...(published.psk && { psk: { psk: hex(published.psk), pskId: hex(published.psk_id ?? '') } }),
      authenticated: senderPublicKey !== undefined,
    });
  const [sending, receiving] = [senderContext(scheduled()), recipientContext(scheduled())];
  for (const { aad, ct, pt } of published.encryptions) {
    expect(hexOf(sending.seal(hex(aad), hex(pt)))).toBe(ct);
    expect(hexOf(receiving.open(hex(aad), hex(ct)))).toBe(pt);
  }
  for (const { exporter_context, L, exported_value } of published.exports)
    expect(hexOf(receiving.export(hex(exporter_context), L))).toBe(exported_value);
}

/** @returns how many were of suites that are offered, and of others */
async function checkAll(cases: readonly HpkeCase[]): Promise<{ checked: number; others: number }> {
  let checked = 0;
  for (const published of cases) {
    const suite = suiteOf(published);
    if (suite === undefined) continue;
    await check(suite, published);
    checked += 1;
  }
  return { checked, others: cases.length - checked };
}

/** Guarantees the committed answers: each KEM, AEAD and mode at least once. */
test('committed vectors', async () => {
  const cases = committedCases<HpkeCase>('hpke');
  expect(await checkAll(cases)).toEqual({ checked: 11, others: 0 });
  for (const [name, count] of [
    ['kem_id', 4],
    ['aead_id', 4],
    ['mode', 4],
  ] as const)
    expect(new Set(cases.map((published) => published[name])).size).toBe(count);
});

function largeCases<Case>(name: string): Case[] {
  const text = largeText(name).join('\n');
  return text === '' ? [] : (JSON.parse(text) as Case[]);
}

/** Guarantees every answer of RFC 9180's own set that is of a suite offered here, in all four modes. */
test('RFC 9180', async ({ skip }) => {
  const cases = largeCases<HpkeCase>('hpke/rfc9180-full-cut.json');
  skip(cases.length === 0, 'the set is not at hand');
  expect(await checkAll(cases)).toEqual({ checked: 2 * 4 * 4, others: 96 });
});

/** Guarantees those of the draft that brings ML-KEM and X-Wing into HPKE. */
test('draft-ietf-hpke-pq', async ({ skip }) => {
  const cases = largeCases<HpkeCase>('hpke/hpke-pq.json');
  skip(cases.length === 0, 'the set is not at hand');
  expect(await checkAll(cases)).toEqual({ checked: 2, others: 11 });
});

/** Random input out of SHAKE128 of nothing: a byte that is a length, and as many bytes. */
function drawer(): () => Uint8Array {
  const stream = createHash('shake128', { outputLength: 1 << 20 }).digest();
  let at = 0;
  return () => {
    const length = stream[at] ?? 0;
    at += 1 + length;
    return stream.subarray(at - length, at);
  };
}

/** Guarantees a thousand messages and exports in turn of each suite: sequence numbers beyond one byte, every length. */
test('RFC 9180, accumulated', { timeout: 120_000 }, async ({ skip }) => {
  const cases = largeCases<Accumulated>('hpke/rfc9180-accumulated.json');
  skip(cases.length === 0, 'the set is not at hand');
  let checked = 0;
  for (const published of cases) {
    const suite = suiteOf(published);
    if (suite === undefined) continue;
    const recipient = { seed: hex(published.skRm), publicKey: hex(published.pkRm) };
    const secret = await hpkeKems[suite.kem].decapsulate(hex(published.enc), recipient);
    const scheduled = () =>
      schedule(suite, {
        sharedSecret: Uint8Array.from(secret ?? []),
        info: hex(published.info),
        authenticated: false,
      });
    const [sending, receiving] = [senderContext(scheduled()), recipientContext(scheduled())];
    if (suite.aead !== 'export-only') {
      const draw = drawer();
      const sink = createHash('shake128', { outputLength: 16 });
      for (let count = 0; count < 1000; count += 1) {
        const [aad, plaintext] = [draw(), draw()];
        const ciphertext = sending.seal(aad, plaintext);
        sink.update(ciphertext);
        expect(hexOf(receiving.open(aad, ciphertext))).toBe(hexOf(plaintext));
      }
      expect(sink.digest('hex')).toBe(published.encryptions_accumulated);
    }
    const draw = drawer();
    const sink = createHash('shake128', { outputLength: 16 });
    for (let length = 0; length < 1000; length += 1) sink.update(receiving.export(draw(), length));
    expect(sink.digest('hex')).toBe(published.exports_accumulated);
    checked += 1;
  }
  expect(checked).toBe(2 * 4);
});
