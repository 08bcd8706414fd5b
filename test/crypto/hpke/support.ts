import type { KeyPair } from '../../../src/crypto/hpke/kem.ts';
import { type HpkeAead, type HpkeKemName, hpkeSuite } from '../../../src/crypto/hpke/suites.ts';
import { publicKeyOf } from '../../../src/crypto/kem/pairs.ts';
import { suites } from '../../../src/crypto/suites.ts';

export const kemNames = ['x-wing', 'ml-kem-768', 'x25519', 'p256'] as const;
const aeadNames = ['aes-256-gcm', 'aes-128-gcm', 'chacha20-poly1305'] as const;

/** Every combination that encrypts. */
export const sealingSuites = kemNames.flatMap((kem) => aeadNames.map((aead) => hpkeSuite(kem, aead)));

/** A key pair of a seed whose bytes are all the same. */
export function pairOf(kem: HpkeKemName, byte: number): KeyPair {
  const seed = new Uint8Array(suites[kem].keyBytes).fill(byte);
  const publicKey = publicKeyOf(kem, seed);
  if (publicKey === undefined) throw new Error('no private key');
  return { seed, publicKey };
}

/** IANA's registry of HPKE, written down a second time. */
export const kemNumbers: Readonly<Record<number, HpkeKemName>> = {
  0x0010: 'p256',
  0x0020: 'x25519',
  0x0041: 'ml-kem-768',
  0x647a: 'x-wing',
};
export const aeadNumbers: Readonly<Record<number, HpkeAead>> = {
  1: 'aes-128-gcm',
  2: 'aes-256-gcm',
  3: 'chacha20-poly1305',
  0xffff: 'export-only',
};
