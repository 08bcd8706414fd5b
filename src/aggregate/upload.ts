import { createHash } from 'node:crypto';
import { equalBytes } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import { ciphertextBytes, ciphertextHeader, headerBytes } from '../crypto/homomorphic/ciphertext.ts';
import { createResidueAdder, type ResidueAdder } from '../crypto/homomorphic/kernel.ts';
import type { ParameterSet, ParameterSetName } from '../crypto/homomorphic/parameters.ts';
import {
  bindingBytes,
  bindingText,
  prologueBytes,
  type UploadPlace,
  uploadBytes,
  uploadMagic,
} from '../crypto/homomorphic/upload.ts';
import type { Dataset } from './dataset.ts';

/** One ciphertext of an upload, as it is kept. */
export interface JudgedCiphertext {
  /** A view of the upload. */
  readonly residues: Uint8Array;
  /** SHA-256. */
  readonly digest: Uint8Array;
}

/** Of each set of parameters one that judges: it is asked and answers in one go. */
const judges = new Map<ParameterSetName, ResidueAdder>();

/**
 * Judges an upload before anything of it is kept or parsed: its length, its beginning, what it is bound to, and of each
 * ciphertext the header, each residue and whether it hides anything.
 * @throws contribution/refused
 */
export function judgeUpload(
  { parameters, layout }: Dataset,
  place: UploadPlace,
  upload: Uint8Array,
): JudgedCiphertext[] {
  const expected = uploadBytes(parameters, layout);
  if (upload.length !== expected) throw refused(`It must have ${expected} bytes.`);
  if (!equalBytes(upload.subarray(0, uploadMagic.length), uploadMagic)) {
    throw refused('It does not begin as a contribution does.');
  }
  const binding = createHash('sha256').update(bindingText(place)).digest();
  if (!equalBytes(upload.subarray(uploadMagic.length, uploadMagic.length + bindingBytes), binding)) {
    throw refused('It was made for another epoch, another contributor or another number.');
  }
  const bytes = ciphertextBytes(parameters);
  return Array.from({ length: layout.ciphertexts }, (_, index) => {
    const start = prologueBytes + index * bytes;
    return judgeCiphertext(parameters, upload.subarray(start, start + bytes));
  });
}

function judgeCiphertext(set: ParameterSet, ciphertext: Uint8Array): JudgedCiphertext {
  if (!equalBytes(ciphertext.subarray(0, headerBytes), ciphertextHeader(set))) {
    throw refused('A ciphertext is of other parameters, or of another form.');
  }
  const residues = ciphertext.subarray(headerBytes);
  const judge = judges.get(set.name) ?? createResidueAdder(set);
  judges.set(set.name, judge);
  judge.staging.set(residues);
  const fault = judge.faultOf(0);
  if (fault === 'not-reduced') throw refused('A ciphertext has numbers beyond its modulus.');
  if (fault === 'transparent') throw refused('A ciphertext hides nothing.');
  return { residues, digest: createHash('sha256').update(residues).digest() };
}

export function refused(detail: string): ServiceError {
  return new ServiceError('contribution/refused', `The contribution is refused. ${detail}`);
}
