import { utf8 } from '../core/bytes.ts';
import { ed25519 } from '../crypto/signatures/ed25519.ts';
import type { SignatureInput } from '../crypto/signatures/signature.ts';

// What a dataset says is a JWS (RFC 7515) in compact serialization by the dataset's own key, EdDSA (RFC 8037): `kid` is
// the dataset's id, and `typ` keeps one kind of statement apart from every other.

export interface Statement {
  readonly typ: string;
  readonly datasetId: string;
}

/** @param seed of the dataset's Ed25519 key; for the caller to wipe */
export function signStatement(seed: Uint8Array, statement: Statement, payload: string): string {
  const signed = `${base64url(utf8(headerOf(statement)))}.${base64url(utf8(payload))}`;
  return `${signed}.${base64url(ed25519.sign(seed, inputOf(signed)))}`;
}

/** @returns the payload; undefined unless it is this kind of statement, of this dataset, signed by its key */
export function openStatement(
  verificationKey: Uint8Array,
  statement: Statement,
  jws: string,
): string | undefined {
  const [header = '', payload = '', signature = '', ...more] = jws.split('.');
  if (more.length > 0 || header !== base64url(utf8(headerOf(statement)))) return undefined;
  const bytes = Buffer.from(signature, 'base64url');
  if (!ed25519.verify(verificationKey, inputOf(`${header}.${payload}`), bytes)) return undefined;
  return Buffer.from(payload, 'base64url').toString('utf8');
}

/** The one form that it is made in: nothing of it is for the one who sends it to choose (RFC 8725 §3.1). */
function headerOf({ typ, datasetId }: Statement): string {
  return JSON.stringify({ alg: 'EdDSA', kid: datasetId, typ });
}

function inputOf(text: string): SignatureInput {
  const context = new Uint8Array(0);
  return { form: 'message', bytes: utf8(text), context, hash: 'sha512', encoding: 'der' };
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}
