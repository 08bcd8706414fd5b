import { constants, createHash, createPublicKey, publicEncrypt, verify } from 'node:crypto';
import pkcs11js from 'pkcs11js';
import { equalBytes } from '../../core/bytes.ts';
import type { PairKind } from '../hsm.ts';
import { type Cryptoki, failureKind, type Handle, readOnlySession, returnValue } from './cryptoki.ts';
import { curveOf, isDecryptionPair, pairGeneration, pairTemplate } from './pair-objects.ts';
import type { PairRequest, SlowAnswer } from './slow-protocol.ts';
import { maxBlobBytes } from './wrapping.ts';

/** The token as the lane of pairs has it. */
export interface PairToken {
  readonly cryptoki: Cryptoki;
  readonly slot: Handle;
  readonly generation: number;
  readonly wrapMechanism: number;
}

/**
 * Makes a pair as session objects, wraps the private key, and unwraps that blob, which may be all there will be of it,
 * as it will be used: it must sign what the public key verifies, or decrypt what that encrypts, once in this process
 * (FIPS 140-3 IG 10.3.A). All
 * objects go with the session. Never throws: every failure is an answer.
 */
export function makePair(token: PairToken, { kind, under }: PairRequest): SlowAnswer {
  const { cryptoki, slot } = token;
  if (under === 'root' || under.generation !== token.generation) return { outcome: 'stale' };
  let session: Handle | undefined;
  try {
    session = cryptoki.C_OpenSession(slot, readOnlySession);
    return make(token, session, { kind, by: Buffer.from(under.handle) });
  } catch (error) {
    const failure = failureKind(error);
    if (failure === 'handle') return { outcome: 'stale' };
    if (failure === 'unclear') return { outcome: 'rejected' };
    return { outcome: 'device', returnValue: returnValue(error) ?? 0 };
  } finally {
    if (session !== undefined) close(cryptoki, session);
  }
}

function close(cryptoki: Cryptoki, session: Handle): void {
  try {
    cryptoki.C_CloseSession(session);
  } catch {
    // It may be what failed; finalizing the module settles it.
  }
}

function make(
  { cryptoki, wrapMechanism }: PairToken,
  session: Handle,
  { kind, by }: { kind: PairKind; by: Handle },
): SlowAnswer {
  const { mechanism, publicKey, privateKey } = pairGeneration(kind);
  const made = cryptoki.C_GenerateKeyPair(session, mechanism, publicKey, privateKey);
  const raw = readPublicKey(cryptoki, session, { kind, publicKey: made.publicKey });
  const wrap = { mechanism: wrapMechanism };
  const blob = cryptoki.C_WrapKey(session, wrap, by, made.privateKey, Buffer.alloc(maxBlobBytes));
  const inUse = cryptoki.C_UnwrapKey(session, wrap, by, blob, pairTemplate(kind, 'in-use'));
  const proving = isDecryptionPair(kind) ? proveDecryption : prove;
  proving(cryptoki, session, { kind, privateKey: inUse, publicKey: raw });
  return { outcome: 'pair', blob: new Uint8Array(blob), publicKey: raw };
}

function readPublicKey(
  cryptoki: Cryptoki,
  session: Handle,
  { kind, publicKey }: { kind: PairKind; publicKey: Handle },
): Uint8Array {
  const read = (type: number): Buffer => {
    const [attribute] = cryptoki.C_GetAttributeValue(session, publicKey, [{ type }]);
    if (!Buffer.isBuffer(attribute?.value)) throw new Error('the token gave no public key');
    return attribute.value;
  };
  const curve = curveOf(kind);
  if (curve === undefined) {
    const [n, e] = [read(pkcs11js.CKA_MODULUS), read(pkcs11js.CKA_PUBLIC_EXPONENT)];
    const jwk = { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') };
    return new Uint8Array(
      createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'der', type: 'pkcs1' }),
    );
  }
  // A DER OCTET STRING around the point (PKCS#11 v2.40, EC public key objects); some modules give the point alone.
  const point = read(pkcs11js.CKA_EC_POINT).subarray(-(1 + 2 * curve.scalarBytes));
  if (point.length !== 1 + 2 * curve.scalarBytes || point[0] !== 4) {
    throw new Error('the token gave no uncompressed point');
  }
  return Uint8Array.from(point);
}

const proof = Buffer.from('stathera: a new pair signs as its public key verifies');
/** DER of a DigestInfo up to the digest, RFC 8017 §9.2 note 1. */
const sha256Info = Buffer.from('3031300d060960864801650304020105000420', 'hex');

/** @throws when the private key does not belong to the public one */
function prove(
  cryptoki: Cryptoki,
  session: Handle,
  { kind, privateKey, publicKey }: { kind: PairKind; privateKey: Handle; publicKey: Uint8Array },
): void {
  const digest = createHash('sha256').update(proof).digest();
  const curve = curveOf(kind);
  const mechanism = curve === undefined ? pkcs11js.CKM_RSA_PKCS : pkcs11js.CKM_ECDSA;
  cryptoki.C_SignInit(session, { mechanism }, privateKey);
  const data = curve === undefined ? Buffer.concat([sha256Info, digest]) : digest;
  const signature = cryptoki.C_Sign(session, data, Buffer.alloc(1024));
  const verifies =
    curve === undefined
      ? verify(
          'sha256',
          proof,
          createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' }),
          signature,
        )
      : verify('sha256', proof, { key: ecKey(curve, publicKey), dsaEncoding: 'ieee-p1363' }, signature);
  if (!verifies) throw new Error('the token made a pair whose halves do not fit');
}

/** @throws as `prove` does */
function proveDecryption(
  cryptoki: Cryptoki,
  session: Handle,
  { privateKey, publicKey }: { privateKey: Handle; publicKey: Uint8Array },
): void {
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
  const bytes = (key.asymmetricKeyDetails?.modulusLength ?? 0) / 8;
  // Below the modulus, whose top bit is set.
  const number = Buffer.alloc(bytes, 0x17);
  const encrypted = publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, number);
  cryptoki.C_DecryptInit(session, { mechanism: pkcs11js.CKM_RSA_X_509 }, privateKey);
  const decrypted = cryptoki.C_Decrypt(session, encrypted, Buffer.alloc(bytes));
  if (!equalBytes(decrypted, number)) throw new Error('the token made a pair whose halves do not fit');
}

/** SubjectPublicKeyInfo of an EC point, RFC 5480 §2. */
function ecKey({ oid }: { readonly oid: Buffer }, point: Uint8Array) {
  const sequence = (...parts: Uint8Array[]): Buffer => tagged(0x30, ...parts);
  const algorithm = sequence(Buffer.from('06072a8648ce3d0201', 'hex'), oid);
  const key = sequence(algorithm, tagged(0x03, Buffer.of(0), point));
  return createPublicKey({ key, format: 'der', type: 'spki' });
}

function tagged(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const length = content.length < 128 ? [content.length] : [0x81, content.length];
  return Buffer.concat([Buffer.of(tag, ...length), content]);
}
