import { type ParameterSet, residueBytes } from './parameters.ts';

// How SEAL 4.1 writes a fresh ciphertext without compression: a header of 113 bytes that is the same for every
// ciphertext of the same parameters, then the residues, 8 bytes each in little-endian order. So nothing here is parsed:
// a header is the one expected, byte by byte, or the ciphertext is refused. Compressed ones (which can grow a
// thousandfold) and seeded ones have other headers.

export const headerBytes = 113;

/** Bytes of a ciphertext as it is uploaded. */
export function ciphertextBytes(set: ParameterSet): number {
  return headerBytes + residueBytes(set);
}

const magic = 0xa15e;
const sealVersion = [4, 1] as const;
const uncompressed = 0;
const ownHeaderBytes = 16;
const parametersIdBytes = 32;

/** The header that every ciphertext of the parameters begins with. */
export function ciphertextHeader(set: ParameterSet): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(headerBytes);
  const view = new DataView(header.buffer);
  const words = residueBytes(set) / 8;
  sealHeader(view, 0, ciphertextBytes(set));
  let at = ownHeaderBytes;
  header.set(fromHex(set.ciphertextParametersId), at);
  at += parametersIdBytes;
  // In the form that a number-theoretic transform gives.
  view.setUint8(at, 1);
  at += 1;
  for (const size of [2, set.degree, set.moduli.length]) {
    view.setBigUint64(at, BigInt(size), true);
    at += 8;
  }
  // The scale, which only CKKS has, and the correction factor of one that was never multiplied.
  view.setFloat64(at, 1, true);
  view.setBigUint64(at + 8, 1n, true);
  at += 16;
  sealHeader(view, at, ownHeaderBytes + 8 + words * 8);
  view.setBigUint64(at + ownHeaderBytes, BigInt(words), true);
  return header;
}

/** SEALHeader: magic, its own size, the library's version, compression, two bytes of nothing, the whole's size. */
function sealHeader(view: DataView, at: number, bytes: number): void {
  view.setUint16(at, magic, true);
  view.setUint8(at + 2, ownHeaderBytes);
  view.setUint8(at + 3, sealVersion[0]);
  view.setUint8(at + 4, sealVersion[1]);
  view.setUint8(at + 5, uncompressed);
  view.setBigUint64(at + 8, BigInt(bytes), true);
}

/** A ciphertext as SEAL takes it. */
export function ciphertextOf(set: ParameterSet, residues: Uint8Array): Uint8Array<ArrayBuffer> {
  if (residues.length !== residueBytes(set)) throw new RangeError('residues of another length');
  const ciphertext = new Uint8Array(ciphertextBytes(set));
  ciphertext.set(ciphertextHeader(set));
  ciphertext.set(residues, headerBytes);
  return ciphertext;
}

function fromHex(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at += 1)
    bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}
