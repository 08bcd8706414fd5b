import { labels } from '../labels.ts';
import type { AesGcmKey, PayloadCiphers, Secret } from './ciphers.ts';
import { commitmentBytes, prefixed, purposeOf } from './format.ts';

/** The keys under one data key: what they are derived from, and what ./README.md says of each. */

const keyBytes = 32;
const noncePrefixBytes = 7;
const encoder = new TextEncoder();

/** For every message under the data key. */
export interface MessageKey {
  readonly key: AesGcmKey;
  /** 32 bytes of the header: another data key would give others. */
  readonly commitment: Uint8Array;
}

/** For one stream. */
export interface StreamKey extends MessageKey {
  /** 7 bytes that all nonces of the stream begin with. */
  readonly noncePrefix: Uint8Array;
}

/** @param id 16 bytes that name the data key */
export async function deriveMessageKey(
  ciphers: PayloadCiphers,
  secret: Secret,
  { id }: { id: Uint8Array },
): Promise<MessageKey> {
  const info = prefixed(encoder.encode(labels.dataKeyMessage), purposeOf('message'), id);
  const derived = await secret.hkdf({ salt: new Uint8Array(), info, bytes: keyBytes + commitmentBytes });
  return cut(ciphers, derived);
}

/** @param salt 32 bytes, random: two streams under one data key never share a key */
export async function deriveStreamKey(
  ciphers: PayloadCiphers,
  secret: Secret,
  { id, salt, associatedData }: { id: Uint8Array; salt: Uint8Array; associatedData: Uint8Array },
): Promise<StreamKey> {
  const info = prefixed(encoder.encode(labels.dataKeyStream), purposeOf('stream'), id, associatedData);
  return streamKeyFrom(ciphers, secret, { salt, info });
}

/** For a stream whose data key is sealed to public keys. @param startHash SHA-256 of its header before the commitment */
export async function deriveSealedStreamKey(
  ciphers: PayloadCiphers,
  secret: Secret,
  {
    startHash,
    salt,
    associatedData,
  }: { startHash: Uint8Array; salt: Uint8Array; associatedData: Uint8Array },
): Promise<StreamKey> {
  const info = prefixed(encoder.encode(labels.sealedStream), startHash, associatedData);
  return streamKeyFrom(ciphers, secret, { salt, info });
}

async function streamKeyFrom(
  ciphers: PayloadCiphers,
  secret: Secret,
  { salt, info }: { salt: Uint8Array; info: Uint8Array },
): Promise<StreamKey> {
  const bytes = keyBytes + commitmentBytes + noncePrefixBytes;
  const derived = await secret.hkdf({ salt, info, bytes });
  const noncePrefix = derived.slice(keyBytes + commitmentBytes);
  return { ...(await cut(ciphers, derived)), noncePrefix };
}

async function cut(ciphers: PayloadCiphers, derived: Uint8Array): Promise<MessageKey> {
  try {
    const key = await ciphers.importKey(derived.subarray(0, keyBytes));
    return { key, commitment: derived.slice(keyBytes, keyBytes + commitmentBytes) };
  } finally {
    derived.fill(0);
  }
}

/** Compares commitments in time that does not depend on where they differ. */
export function sameCommitment(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let at = 0; at < commitmentBytes; at += 1) difference |= (a[at] ?? 0) ^ (b[at] ?? 0);
  return difference === 0;
}
