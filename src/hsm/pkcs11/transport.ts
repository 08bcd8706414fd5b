import { createPublicKey } from 'node:crypto';
import pkcs11js from 'pkcs11js';
import { idBytes } from '../../core/ids.ts';
import { transportKeyBits } from '../hsm.ts';
import type { Cryptoki, Handle } from './cryptoki.ts';
import { usages } from './usages.ts';

/** CKA_LABEL of the private key; its CKA_ID is the root's. The public key is no object: its numbers are read from it. */
const transportLabel = 'stathera-transport';
/** More are made only where several commands ran at once. */
const mostKeys = 8;

const oaepParameter: pkcs11js.RsaOAEP = {
  type: pkcs11js.CK_PARAMS_RSA_OAEP,
  hashAlg: pkcs11js.CKM_SHA_1,
  mgf: pkcs11js.CKG_MGF1_SHA1,
  // CKZ_DATA_SPECIFIED, with none.
  source: 1,
};
/** RSAES-OAEP, RFC 8017 §7.1, with the hash that every module has. Its security does not rest on collisions. */
export const oaep = { mechanism: pkcs11js.CKM_RSA_PKCS_OAEP, parameter: oaepParameter };

/** Of several the same one for every process. */
export function findTransportKey(cryptoki: Cryptoki, session: Handle, rootId: string): Handle | undefined {
  cryptoki.C_FindObjectsInit(session, transportSearchTemplate(rootId));
  let found: Handle[];
  try {
    found = cryptoki.C_FindObjects(session, mostKeys);
  } finally {
    cryptoki.C_FindObjectsFinal(session);
  }
  if (found.length < 2) return found[0];
  const [first] = found
    .map((handle) => ({ handle, publicKey: publicKeyOf(cryptoki, session, handle) }))
    .toSorted((a, b) => Buffer.compare(a.publicKey, b.publicKey));
  return first?.handle;
}

export function transportSearchTemplate(rootId: string): pkcs11js.Template {
  return [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_TOKEN, value: true },
    { type: pkcs11js.CKA_LABEL, value: transportLabel },
    { type: pkcs11js.CKA_ID, value: Buffer.from(idBytes(rootId)) },
  ];
}

export function publicKeyOf(cryptoki: Cryptoki, session: Handle, key: Handle): Uint8Array {
  const [n, e] = [pkcs11js.CKA_MODULUS, pkcs11js.CKA_PUBLIC_EXPONENT].map((type) => {
    const [attribute] = cryptoki.C_GetAttributeValue(session, key, [{ type }]);
    if (!Buffer.isBuffer(attribute?.value)) throw new Error('the token gave no public key');
    return attribute.value.toString('base64url');
  });
  const jwk = { kty: 'RSA', n: n ?? '', e: e ?? '' };
  return new Uint8Array(
    createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'der', type: 'pkcs1' }),
  );
}

/** Wraps a transit key under another token's transport key. */
export function wrapForTransport(
  cryptoki: Cryptoki,
  session: Handle,
  { publicKey, key }: { publicKey: Uint8Array; key: Handle },
): Uint8Array {
  const { n = '', e = '' } = createPublicKey({
    key: Buffer.from(publicKey),
    format: 'der',
    type: 'pkcs1',
  }).export({ format: 'jwk' });
  const wrapper = cryptoki.C_CreateObject(session, [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PUBLIC_KEY },
    { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_RSA },
    { type: pkcs11js.CKA_TOKEN, value: false },
    { type: pkcs11js.CKA_PRIVATE, value: false },
    ...usages(['wrap'], ['encrypt', 'verify', 'wrap']),
    { type: pkcs11js.CKA_MODULUS, value: Buffer.from(n, 'base64url') },
    { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.from(e, 'base64url') },
  ]);
  try {
    return new Uint8Array(
      cryptoki.C_WrapKey(session, oaep, wrapper, key, Buffer.alloc(transportKeyBits / 8)),
    );
  } finally {
    cryptoki.C_DestroyObject(session, wrapper);
  }
}

/** Unwraps what another token wrapped so. @throws when it does not open, or the token has no transport key */
export function unwrapTransported(
  cryptoki: Cryptoki,
  session: Handle,
  { rootId, transported, template }: { rootId: string; transported: Uint8Array; template: pkcs11js.Template },
): Handle {
  const key = findTransportKey(cryptoki, session, rootId);
  if (key === undefined) throw new Error('the token has no transport key');
  return cryptoki.C_UnwrapKey(session, oaep, key, Buffer.from(transported), template);
}
