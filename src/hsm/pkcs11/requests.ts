import { concatBytes } from '../../core/bytes.ts';
import type { GcmInput, KeyKind, KeyRef, MacKind, SignatureMechanism } from '../hsm.ts';
import { nonceBytes, type Operation, type OperationKind, tagBytes } from './packing.ts';

export const maxDataBytes = 65_536;
const maxAadBytes = 65_536;
const maxMacBytes = 1_048_576;

/** An operation whose keys are not yet resolved; its payload is a copy of the caller's input. */
export type Draft = Pick<
  Operation,
  'kind' | 'aadBytes' | 'dataBytes' | 'secondAadBytes' | 'zeroPrefixBytes' | 'payload'
>;

/** @throws RangeError when a key is of a kind this operation does not take */
export function requireKind(key: KeyRef, ...allowed: readonly KeyKind[]): void {
  if (!allowed.includes(key.kind)) throw new RangeError(`key.kind must be ${allowed.join(' or ')}`);
}

function requireLength(
  name: string,
  length: number,
  { least = 0, most }: { least?: number; most: number },
): void {
  if (!Number.isInteger(length) || length < least || length > most) {
    throw new RangeError(`${name} must be ${least} to ${most} bytes`);
  }
}

function requireNonceAndAad({ nonce, aad }: Omit<GcmInput, 'data'>): void {
  requireLength('nonce', nonce.length, { least: nonceBytes, most: nonceBytes });
  requireLength('aad', aad.length, { most: maxAadBytes });
}

/** @throws RangeError for sizes outside the port's bounds */
export function encryptDraft(input: GcmInput): Draft {
  requireNonceAndAad(input);
  requireLength('data', input.data.length, { most: maxDataBytes });
  return gcmDraft('encrypt', input);
}

/** @returns undefined for what is shorter than a tag: no ciphertext of anything */
export function decryptDraft(input: GcmInput): Draft | undefined {
  requireNonceAndAad(input);
  requireLength('data', input.data.length, { most: maxDataBytes + tagBytes });
  return input.data.length < tagBytes ? undefined : gcmDraft('decrypt', input);
}

function gcmDraft(kind: 'encrypt' | 'decrypt', { nonce, aad, data }: GcmInput): Draft {
  const payload = concatBytes(nonce, aad, data);
  return { kind, aadBytes: aad.length, dataBytes: data.length, secondAadBytes: 0, payload };
}

/** @returns undefined as `decryptDraft` does */
export function reencryptDraft(
  from: { readonly input: GcmInput; readonly zeroPrefixBytes?: number },
  to: Omit<GcmInput, 'data'>,
): Draft | undefined {
  const { input, zeroPrefixBytes = 0 } = from;
  const old = decryptDraft(input);
  requireLength('zeroPrefixBytes', zeroPrefixBytes, { most: maxDataBytes });
  requireNonceAndAad(to);
  if (old === undefined) return undefined;
  const payload = concatBytes(old.payload, to.nonce, to.aad);
  return { ...old, kind: 'reencrypt', secondAadBytes: to.aad.length, zeroPrefixBytes, payload };
}

const macOperations: Readonly<Record<MacKind, OperationKind>> = {
  ...{ 'hmac-256': 'hmac-256', 'hmac-384': 'hmac-384', 'hmac-512': 'hmac-512' },
  ...{ 'cmac-128': 'cmac', 'cmac-256': 'cmac' },
};

/** @throws RangeError for a key of another kind, or data outside the port's bounds */
export function macDraft({ kind }: KeyRef, data: Uint8Array): Draft {
  const operation = (macOperations as Partial<Record<KeyKind, OperationKind>>)[kind];
  if (operation === undefined) throw new RangeError('key.kind must be one that makes MACs');
  requireLength('data', data.length, { most: maxMacBytes });
  return {
    kind: operation,
    aadBytes: 0,
    dataBytes: data.length,
    secondAadBytes: 0,
    payload: Uint8Array.from(data),
  };
}

const signable: Readonly<
  Record<SignatureMechanism, { kinds: readonly KeyKind[]; bytes: readonly number[] }>
> = {
  // CKM_ECDSA takes the leftmost bits of what is longer than the order.
  ecdsa: { kinds: ['ec-p256', 'ec-p384', 'ec-p521', 'ec-secp256k1'], bytes: [32, 48, 64] },
  // DigestInfo of SHA-256, SHA-384 and SHA-512.
  'rsa-pkcs1': { kinds: ['rsa-2048', 'rsa-3072', 'rsa-4096'], bytes: [51, 67, 83] },
  'rsa-pss': { kinds: ['rsa-2048', 'rsa-3072', 'rsa-4096'], bytes: [32, 48, 64] },
};

/** @throws RangeError for a key of another kind, or data of another length than a digest's */
export function signDraft(key: KeyRef, mechanism: SignatureMechanism, data: Uint8Array): Draft {
  const { kinds, bytes } = signable[mechanism];
  requireKind(key, ...kinds);
  if (!bytes.includes(data.length)) throw new RangeError(`data must be ${bytes.join(', ')} bytes`);
  return {
    kind: mechanism,
    aadBytes: 0,
    dataBytes: data.length,
    secondAadBytes: 0,
    payload: Uint8Array.from(data),
  };
}

const modulusBytes: Partial<Record<KeyKind, number>> = {
  ...{ 'rsa-2048-decrypt': 256, 'rsa-3072-decrypt': 384, 'rsa-4096-decrypt': 512 },
};

/** @throws RangeError for a key of another kind. @returns undefined for data of another length than the modulus's */
export function decryptRsaDraft({ kind }: KeyRef, data: Uint8Array): Draft | undefined {
  const bytes = modulusBytes[kind];
  if (bytes === undefined) throw new RangeError('key.kind must be one that decrypts with RSA');
  if (data.length !== bytes) return undefined;
  const payload = Uint8Array.from(data);
  return { kind: 'rsa-decrypt', aadBytes: 0, dataBytes: bytes, secondAadBytes: 0, payload };
}

export function randomDraft(bytes: number): Draft {
  requireLength('random', bytes, { least: 1, most: maxDataBytes });
  return { kind: 'random', aadBytes: 0, dataBytes: bytes, secondAadBytes: 0, payload: new Uint8Array(0) };
}
