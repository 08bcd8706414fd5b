import pkcs11js from 'pkcs11js';
import type { KeyKind, SecretKind } from '../hsm.ts';
import { isPair, maxPairBlobBytes, pairTemplate } from './pair-objects.ts';
import { type Usage, usages } from './usages.ts';

/** CKA_LABEL of the root; its CKA_ID is the 16 bytes of the root's id. */
const rootLabel = 'stathera-root';

/** Bytes of a key's value. */
const keyBytes: Readonly<Record<SecretKind, number>> = {
  kek: 32,
  'aes-128': 16,
  'aes-256': 32,
  'hmac-256': 32,
  'hmac-384': 48,
  'hmac-512': 64,
  'cmac-128': 16,
  'cmac-256': 32,
};

export function valueBytes(kind: SecretKind): number {
  return keyBytes[kind];
}

/**
 * Whether a blob has the length of its kind, which AES-KWP authenticates: whole semiblocks and one for the AIV (RFC 5649
 * §4.1). A private key is PKCS #8 in DER, whose length varies by some bytes.
 */
export function fitsBlob(kind: KeyKind, { length }: Uint8Array): boolean {
  if (isPair(kind)) return length > 16 && length <= maxPairBlobBytes(kind);
  return length === keyBytes[kind] + 8;
}

/** Mechanisms that the service needs, those of ECDSA and RSA for such keys alone; the wrap mechanism is a setting. */
export function neededMechanisms(wrapMechanism: number): Readonly<Record<string, number>> {
  return {
    CKM_AES_GCM: pkcs11js.CKM_AES_GCM,
    CKM_AES_KEY_GEN: pkcs11js.CKM_AES_KEY_GEN,
    CKM_AES_KEY_WRAP_PAD: wrapMechanism,
    CKM_AES_CMAC: pkcs11js.CKM_AES_CMAC,
    CKM_SHA256_HMAC: pkcs11js.CKM_SHA256_HMAC,
    CKM_SHA384_HMAC: pkcs11js.CKM_SHA384_HMAC,
    CKM_SHA512_HMAC: pkcs11js.CKM_SHA512_HMAC,
    CKM_GENERIC_SECRET_KEY_GEN: pkcs11js.CKM_GENERIC_SECRET_KEY_GEN,
    CKM_EC_KEY_PAIR_GEN: pkcs11js.CKM_EC_KEY_PAIR_GEN,
    CKM_ECDSA: pkcs11js.CKM_ECDSA,
    CKM_RSA_PKCS_KEY_PAIR_GEN: pkcs11js.CKM_RSA_PKCS_KEY_PAIR_GEN,
    CKM_RSA_PKCS: pkcs11js.CKM_RSA_PKCS,
    CKM_RSA_PKCS_PSS: pkcs11js.CKM_RSA_PKCS_PSS,
  };
}

const usagesOf: Readonly<Record<SecretKind, readonly Usage[]>> = {
  kek: ['wrap', 'unwrap'],
  'aes-128': ['encrypt', 'decrypt'],
  'aes-256': ['encrypt', 'decrypt'],
  'hmac-256': ['sign'],
  'hmac-384': ['sign'],
  'hmac-512': ['sign'],
  'cmac-128': ['sign'],
  'cmac-256': ['sign'],
};

function isGeneric(kind: SecretKind): boolean {
  return kind.startsWith('hmac-');
}

function sessionSecret(kind: SecretKind): pkcs11js.Template {
  const keyType = isGeneric(kind) ? pkcs11js.CKK_GENERIC_SECRET : pkcs11js.CKK_AES;
  return [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
    { type: pkcs11js.CKA_KEY_TYPE, value: keyType },
    { type: pkcs11js.CKA_TOKEN, value: false },
    { type: pkcs11js.CKA_PRIVATE, value: true },
    { type: pkcs11js.CKA_SENSITIVE, value: true },
  ];
}

/**
 * A key in use: sensitive, never extractable, with the usages of its kind only. No CKA_VALUE_LEN, which
 * C_UnwrapKey refuses and SoftHSM does not fill in either; `blobBytes` is what tells the lengths apart.
 */
export function inUseTemplate(kind: KeyKind): pkcs11js.Template {
  if (isPair(kind)) return pairTemplate(kind, 'in-use');
  return [
    ...sessionSecret(kind),
    { type: pkcs11js.CKA_EXTRACTABLE, value: false },
    ...usages(usagesOf[kind]),
  ];
}

/** A key that exists only to be wrapped and destroyed: extractable, with no usage at all. */
export function transitTemplate(kind: KeyKind): pkcs11js.Template {
  if (isPair(kind)) return pairTemplate(kind, 'transit');
  return [...sessionSecret(kind), { type: pkcs11js.CKA_EXTRACTABLE, value: true }, ...usages([])];
}

/** As `transitTemplate`, for C_GenerateKey, which needs the length. */
export function generateTemplate(kind: SecretKind): pkcs11js.Template {
  return [...transitTemplate(kind), { type: pkcs11js.CKA_VALUE_LEN, value: keyBytes[kind] }];
}

export function generateMechanism(kind: SecretKind): number {
  return isGeneric(kind) ? pkcs11js.CKM_GENERIC_SECRET_KEY_GEN : pkcs11js.CKM_AES_KEY_GEN;
}

/** A published test key as a session object, for known-answer tests. */
export function knownKeyTemplate(
  keyType: 'aes' | 'generic',
  value: Uint8Array,
  allowed: readonly Usage[],
  { extractable }: { extractable: boolean } = { extractable: true },
): pkcs11js.Template {
  return [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
    {
      type: pkcs11js.CKA_KEY_TYPE,
      value: keyType === 'aes' ? pkcs11js.CKK_AES : pkcs11js.CKK_GENERIC_SECRET,
    },
    { type: pkcs11js.CKA_TOKEN, value: false },
    { type: pkcs11js.CKA_PRIVATE, value: true },
    { type: pkcs11js.CKA_SENSITIVE, value: true },
    { type: pkcs11js.CKA_EXTRACTABLE, value: extractable },
    ...usages(allowed),
    { type: pkcs11js.CKA_VALUE, value: Buffer.from(value) },
  ];
}

/** What finds the root on its token. */
export function rootSearchTemplate(): pkcs11js.Template {
  return [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
    { type: pkcs11js.CKA_TOKEN, value: true },
    { type: pkcs11js.CKA_LABEL, value: rootLabel },
  ];
}

/** The root in graphene's form: AES-256, never extractable, wraps and unwraps only. */
export function rootTemplate(id: Uint8Array, wrapMechanism: number | undefined) {
  return {
    label: rootLabel,
    id: Buffer.from(id),
    token: true,
    private: true,
    sensitive: true,
    extractable: false,
    valueLen: 32,
    wrap: true,
    unwrap: true,
    encrypt: false,
    decrypt: false,
    sign: false,
    verify: false,
    derive: false,
    ...(wrapMechanism === undefined ? {} : { allowedMechanisms: mechanismList(wrapMechanism) }),
  };
}

/** CKA_ALLOWED_MECHANISMS: an array of CK_MECHANISM_TYPE, 8 bytes each, little endian on what we run on. */
export function mechanismList(mechanism: number): Buffer {
  const list = Buffer.alloc(8);
  list.writeBigUInt64LE(BigInt(mechanism));
  return list;
}
