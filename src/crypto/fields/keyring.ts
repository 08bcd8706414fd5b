import { labels } from '../labels.ts';
import { joined, prefixed } from '../payload/format.ts';
import type { Aead, FieldCiphers, FieldHmac } from './ciphers.ts';
import { createFf1, type Ff1 } from './ff1.ts';
import { encodeHeader } from './sealed-text.ts';
import { createSiv, type SivPlace } from './siv.ts';

export type KeyPurpose = 'randomized' | 'deterministic' | 'format' | 'index' | 'hash';

/** A key that a version of a field key gives: for one purpose and one place, or one join group. */
export interface KeySlot {
  readonly purpose: KeyPurpose;
  /** Tells it from every other slot of the namespace. */
  readonly id: string;
  /** What the key is derived by, after the version's id: see ./README.md. */
  readonly scope: Uint8Array;
  /** Of the format, where it is for one: symbols of the alphabet. */
  readonly radix: number;
}

/** What `prepare` makes of a derived key. */
export type PreparedKey =
  | {
      readonly purpose: 'randomized';
      readonly aead: Aead;
      readonly header: Uint8Array;
      /** What a value is bound to: its place, and the record that the caller names, or none. */
      readonly aadOf: (record: string | undefined) => Uint8Array;
    }
  | { readonly purpose: 'deterministic'; readonly place: SivPlace; readonly header: Uint8Array }
  | { readonly purpose: 'format'; readonly ff1: Ff1 }
  | { readonly purpose: 'index' | 'hash'; readonly hmac: FieldHmac };

/** A version of a field key. */
export interface KeyVersion {
  /** UUID. */
  readonly id: string;
  readonly ordinal: number;
}

/** What opens and seals, looked up without waiting: whoever works with documents has it ready before. */
export interface Keyring {
  /** The version that a key seals with now. */
  current(key: string): KeyVersion;
  /** @param version by id, or by ordinal; undefined: none that may be used */
  version(key: string, version: string | number): KeyVersion | undefined;
  prepared(version: KeyVersion, slot: KeySlot): PreparedKey;
}

/** Labels of SP 800-108, one a purpose. */
export const keyLabels: Readonly<Record<KeyPurpose, string>> = {
  randomized: labels.fieldRandomized,
  deterministic: labels.fieldDeterministic,
  format: labels.fieldFormat,
  index: labels.fieldIndex,
  hash: labels.fieldHash,
};

export function keyBytesOf(purpose: KeyPurpose): number {
  return purpose === 'deterministic' ? 64 : 32;
}

const encoder = new TextEncoder();

/** @param names what the slot is for, from the general to the special */
export function keySlot(purpose: KeyPurpose, names: readonly string[], radix = 0): KeySlot {
  const scope = prefixed(...names.map((name) => encoder.encode(name)));
  return { purpose, scope, radix, id: JSON.stringify([purpose, radix, ...names]) };
}

/** What a derived key is bound to besides its slot. */
export interface KeyPlace {
  /** UUID. */
  readonly namespaceId: string;
  readonly versionId: string;
}

/** The context that a slot's key is derived with (SP 800-108), under the label of its purpose. */
export function keyContext({ namespaceId, versionId }: KeyPlace, { scope }: KeySlot): Uint8Array {
  return prefixed(encoder.encode(namespaceId), encoder.encode(versionId), scope);
}

/** @param key derived, of `keyBytesOf`; copied */
export function prepareKey(
  ciphers: FieldCiphers,
  { slot, place }: { slot: KeySlot; place: KeyPlace },
  key: Uint8Array,
): PreparedKey {
  const { purpose } = slot;
  switch (purpose) {
    case 'randomized': {
      const header = encodeHeader({ sealing: 'randomized', versionId: place.versionId });
      return { purpose, aead: ciphers.gcm(key), header, aadOf: recordAad(placeAad(place, slot, header)) };
    }
    case 'deterministic': {
      const header = encodeHeader({ sealing: 'deterministic', versionId: place.versionId });
      return { purpose, place: createSiv(ciphers, key).at([placeAad(place, slot, header)]), header };
    }
    case 'format':
      return { purpose, ff1: createFf1(ciphers.blocks(key), { radix: slot.radix }) };
    case 'index':
    case 'hash':
      return { purpose, hmac: ciphers.hmac(key) };
  }
}

function placeAad({ namespaceId }: KeyPlace, { scope }: KeySlot, header: Uint8Array): Uint8Array {
  return prefixed(encoder.encode(labels.fieldValue), encoder.encode(namespaceId), scope, header);
}

function recordAad(ofPlace: Uint8Array): (record: string | undefined) => Uint8Array {
  const withoutRecord = joined(ofPlace, Uint8Array.of(0));
  return (record) =>
    record === undefined ? withoutRecord : joined(ofPlace, Uint8Array.of(1), encoder.encode(record));
}
