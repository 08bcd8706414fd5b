import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect } from 'vitest';
import { type Agreement, p256, p384, x25519Agreement } from '../../../src/crypto/kem/curves.ts';
import type { Kem, MlKemName } from '../../../src/crypto/kem/kem.ts';
import { nativeMlKem } from '../../../src/crypto/kem/ml-kem-native.ts';
import { nobleMlKem } from '../../../src/crypto/kem/ml-kem-noble.ts';
import { hex } from '../../support/vectors.ts';

export const mlKemNames: readonly MlKemName[] = ['ml-kem-512', 'ml-kem-768', 'ml-kem-1024'];

/** Both implementations that the service may run on. */
export const mlKems: Readonly<Record<string, (name: MlKemName) => Kem>> = {
  'node:crypto': nativeMlKem,
  '@noble/post-quantum': nobleMlKem,
};

/** Undefined stays undefined: what was refused. */
export function hexOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes && Buffer.from(bytes).toString('hex');
}

export interface KemCase {
  readonly seed: string;
  readonly ek?: string;
  readonly c: string;
  readonly K?: string;
  readonly result: string;
}

/** A case of decapsulation: a seed, its public key, and what a ciphertext gives. */
export function checkKem(kem: Kem, { seed, ek, c, K, result }: KemCase): void {
  // Seeds are drawn here: one of another length is a defect, not an input.
  if (hex(seed).length !== 64) {
    expect(result).toBe('invalid');
    expect(() => kem.privateKey(hex(seed))).toThrow(RangeError);
    return;
  }
  const key = kem.privateKey(hex(seed));
  if (ek !== undefined) expect(hexOf(key.publicKey)).toBe(ek);
  const opened = key.decapsulate(hex(c));
  if (result === 'valid') expect(hexOf(opened)).toBe(K);
  else expect(opened).toBeUndefined();
}

export interface DhCase {
  readonly public: string;
  readonly private: string;
  readonly shared: string;
  readonly result: string;
  readonly flags: readonly string[];
}

interface DhSubject {
  readonly agreement: Agreement;
  readonly scalarBytes: number;
  /** Before the point in a SubjectPublicKeyInfo as it is usually written. */
  readonly prefix: string;
}

export const curves: Readonly<Record<'x25519' | 'p256' | 'p384', DhSubject>> = {
  x25519: { agreement: x25519Agreement, scalarBytes: 32, prefix: '302a300506032b656e032100' },
  p256: {
    agreement: p256,
    scalarBytes: 32,
    prefix: '3059301306072a8648ce3d020106082a8648ce3d030107034200',
  },
  p384: { agreement: p384, scalarBytes: 48, prefix: '3076301006072a8648ce3d020106052b81040022036200' },
};

/**
 * What our API refuses though Wycheproof finds it acceptable, and why:
 * - NonCanonicalPublic: RFC 7748 accepts it, but nobody makes one, and the encoding is bound into what is derived;
 * - ZeroSharedSecret, LowOrderPublic: the secret is known to all;
 * - CompressedPoint, CompressedPublic: one point, one encoding;
 * - InvalidAsn, UnnamedCurve, UnusedParam: keys are raw, so there is no DER to be lenient about.
 * Twist is not refused: X25519 is safe on its twist. Every other flag is a case that must come out as published.
 */
const refusedFlags = new Set([
  ...['NonCanonicalPublic', 'ZeroSharedSecret', 'LowOrderPublic'],
  ...['CompressedPoint', 'CompressedPublic', 'InvalidAsn', 'UnnamedCurve', 'UnusedParam'],
]);

export async function checkDh(curve: keyof typeof curves, published: DhCase): Promise<void> {
  const { agreement, scalarBytes, prefix } = curves[curve];
  const seed = hex(published.private.padStart(scalarBytes * 2, '0').slice(-scalarBytes * 2));
  const publicKey = agreement.publicKeyOf(seed);
  if (publicKey === undefined) throw new Error('a published private key is none');
  const peer = published.public.startsWith(prefix) ? published.public.slice(prefix.length) : published.public;
  const secret = await agreement.agree({ seed, publicKey }, hex(peer));
  const refused = published.result === 'invalid' || published.flags.some((flag) => refusedFlags.has(flag));
  expect([published.flags, hexOf(secret)]).toEqual([published.flags, refused ? undefined : published.shared]);
}

const largeSets = join(import.meta.dirname, '..', '..', '..', '..', 'shared', 'vectors');

/** The lines of a large set that is text; none where it is not at hand. */
export function largeText(name: string): string[] {
  const file = [name, `${name}.gz`].map((path) => join(largeSets, path)).find((path) => existsSync(path));
  if (file === undefined) return [];
  const bytes = readFileSync(file);
  const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1');
  return text.split('\n').filter((line) => line !== '');
}
