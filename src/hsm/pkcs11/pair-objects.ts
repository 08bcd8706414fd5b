import pkcs11js from 'pkcs11js';
import { decryptionKinds, type KeyKind, type PairKind, pairKinds } from '../hsm.ts';
import { type Usage, usages } from './usages.ts';

/** DER of the curve's object identifier (SEC 2, RFC 5480 §2.1.1.1): SoftHSM crashes on a name. */
const curves: Partial<Record<PairKind, { readonly oid: Buffer; readonly scalarBytes: number }>> = {
  'ec-p256': { oid: Buffer.from('06082a8648ce3d030107', 'hex'), scalarBytes: 32 },
  'ec-p384': { oid: Buffer.from('06052b81040022', 'hex'), scalarBytes: 48 },
  'ec-p521': { oid: Buffer.from('06052b81040023', 'hex'), scalarBytes: 66 },
  'ec-secp256k1': { oid: Buffer.from('06052b8104000a', 'hex'), scalarBytes: 32 },
};

const modulusBits: Partial<Record<PairKind, number>> = {
  'rsa-2048': 2048,
  'rsa-3072': 3072,
  'rsa-4096': 4096,
  'rsa-2048-decrypt': 2048,
  'rsa-3072-decrypt': 3072,
  'rsa-4096-decrypt': 4096,
};

export function isPair(kind: KeyKind): kind is PairKind {
  return ([...pairKinds, ...decryptionKinds] as readonly KeyKind[]).includes(kind);
}

export function isDecryptionPair(kind: PairKind): boolean {
  return (decryptionKinds as readonly PairKind[]).includes(kind);
}

export function curveOf(kind: PairKind): { readonly oid: Buffer; readonly scalarBytes: number } | undefined {
  return curves[kind];
}

/** Room for PKCS #8: of EC a scalar, and perhaps the point; of RSA eight numbers, five of half the modulus's length. */
export function maxPairBlobBytes(kind: PairKind): number {
  const curve = curves[kind];
  return curve === undefined ? ((modulusBits[kind] ?? 0) / 8) * 5 + 128 : curve.scalarBytes * 3 + 128;
}

const publicUsages: readonly Usage[] = ['encrypt', 'verify', 'wrap'];
const privateUsages: readonly Usage[] = ['decrypt', 'sign', 'unwrap', 'derive'];

function privateAttributes(kind: PairKind, way: 'in-use' | 'transit'): pkcs11js.Template {
  const use = isDecryptionPair(kind) ? 'decrypt' : 'sign';
  return [
    { type: pkcs11js.CKA_TOKEN, value: false },
    { type: pkcs11js.CKA_PRIVATE, value: true },
    { type: pkcs11js.CKA_SENSITIVE, value: true },
    { type: pkcs11js.CKA_EXTRACTABLE, value: way === 'transit' },
    ...usages(way === 'in-use' ? [use] : [], privateUsages),
  ];
}

/** A private key that is unwrapped: `in-use` signs, or decrypts, and never leaves; `transit` is there to be wrapped, and does nothing. */
export function pairTemplate(kind: PairKind, way: 'in-use' | 'transit'): pkcs11js.Template {
  const keyType = curves[kind] === undefined ? pkcs11js.CKK_RSA : pkcs11js.CKK_EC;
  return [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_KEY_TYPE, value: keyType },
    ...privateAttributes(kind, way),
  ];
}

/** What C_GenerateKeyPair takes: both are session objects, the public key does nothing in the token. */
export function pairGeneration(kind: PairKind): {
  readonly mechanism: pkcs11js.Mechanism;
  readonly publicKey: pkcs11js.Template;
  readonly privateKey: pkcs11js.Template;
} {
  const curve = curves[kind];
  const publicKey = [
    { type: pkcs11js.CKA_TOKEN, value: false },
    { type: pkcs11js.CKA_PRIVATE, value: false },
    ...usages([], publicUsages),
  ];
  const privateKey = privateAttributes(kind, 'transit');
  if (curve !== undefined) {
    const mechanism = { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN };
    return {
      mechanism,
      publicKey: [...publicKey, { type: pkcs11js.CKA_EC_PARAMS, value: curve.oid }],
      privateKey,
    };
  }
  return {
    mechanism: { mechanism: pkcs11js.CKM_RSA_PKCS_KEY_PAIR_GEN },
    publicKey: [
      ...publicKey,
      { type: pkcs11js.CKA_MODULUS_BITS, value: modulusBits[kind] ?? 0 },
      // 65,537, FIPS 186-5 §5.1.
      { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
    ],
    privateKey,
  };
}
