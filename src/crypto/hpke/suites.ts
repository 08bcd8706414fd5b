import { concatBytes, utf8 } from '../../core/bytes.ts';
import { suites } from '../suites.ts';

/**
 * What HPKE (RFC 9180) is put together of here: a KEM, HKDF-SHA256, and an AEAD. Code points are IANA's; they go into
 * every derivation, so none opens what another sealed.
 */

/** RFC 9180 §7.1 and draft-ietf-hpke-pq-04 §3 and §4; X-Wing is MLKEM768-X25519 there. */
const kemIds = { 'x-wing': 0x647a, 'ml-kem-768': 0x0041, x25519: 0x0020, p256: 0x0010 } as const;
/** RFC 9180 §7.2: HKDF-SHA256. */
const kdfId = 0x0001;

export type HpkeKemName = keyof typeof kemIds;

/** RFC 9180 §7.3: code point, and bytes of a key. */
export const hpkeAeads = {
  'aes-256-gcm': { id: 0x0002, keyBytes: 32 },
  'aes-128-gcm': { id: 0x0001, keyBytes: 16 },
  'chacha20-poly1305': { id: 0x0003, keyBytes: 32 },
  /** Derives secrets, and encrypts nothing. */
  'export-only': { id: 0xffff, keyBytes: 0 },
} as const;

export type HpkeAead = keyof typeof hpkeAeads;

/** What encrypts. */
export type HpkeCipher = Exclude<HpkeAead, 'export-only'>;

export const hpkeCipherNames: readonly [HpkeCipher, ...HpkeCipher[]] = [
  ...(['aes-256-gcm', 'aes-128-gcm', 'chacha20-poly1305'] as const),
];
export const hpkeAeadNames: readonly [HpkeAead, ...HpkeAead[]] = [...hpkeCipherNames, 'export-only'];

export interface HpkeSuite {
  readonly kem: HpkeKemName;
  readonly aead: HpkeAead;
  /** For people and programs: KEM, KDF and AEAD, and of drafts their versions. */
  readonly name: string;
  /** `suite_id` of RFC 9180 §5.1. */
  readonly id: Uint8Array;
}

/** ML-KEM-768 is FIPS 203's, its use in HPKE a draft's. */
const kemTexts: Readonly<Record<HpkeKemName, string>> = {
  'x-wing': suites['x-wing'].id,
  'ml-kem-768': 'ml-kem-768/draft-ietf-hpke-pq-04',
  x25519: 'dhkem-x25519-hkdf-sha256',
  p256: 'dhkem-p256-hkdf-sha256',
};

export function isHpkeKem(name: string): name is HpkeKemName {
  return Object.hasOwn(kemIds, name);
}

export function hpkeSuite(kem: HpkeKemName, aead: HpkeAead): HpkeSuite {
  return {
    ...{ kem, aead },
    name: `hpke/${kemTexts[kem]}/hkdf-sha256/${aead}`,
    id: concatBytes(utf8('HPKE'), uint16(kemIds[kem]), uint16(kdfId), uint16(hpkeAeads[aead].id)),
  };
}

/** `suite_id` inside of a DHKEM, RFC 9180 §4.1. */
export function kemSuiteId(kem: HpkeKemName): Uint8Array {
  return concatBytes(utf8('KEM'), uint16(kemIds[kem]));
}

/** I2OSP(value, 2). */
export function uint16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value & 0xff);
}
