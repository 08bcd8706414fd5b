import { schemes } from '../crypto/signatures/schemes.ts';
import type { SignatureInput } from '../crypto/signatures/signature.ts';
import type { SignAlgorithm } from '../crypto/suites.ts';

/** What takes this process's time: signing with a seed, or verifying. */
export type Task =
  | {
      readonly operation: 'sign';
      readonly algorithm: SignAlgorithm;
      readonly seed: Uint8Array;
      readonly input: SignatureInput;
    }
  | {
      readonly operation: 'verify';
      readonly algorithm: SignAlgorithm;
      readonly publicKey: Uint8Array;
      readonly input: SignatureInput;
      readonly signature: Uint8Array;
    };

/** @returns the signature, or whether it is one */
export function perform(task: Task): Uint8Array | boolean {
  const scheme = schemes[task.algorithm];
  if (task.operation === 'verify') return scheme.verify(task.publicKey, task.input, task.signature);
  if (scheme.kind !== 'seed') throw new RangeError('this key is in the token');
  return scheme.sign(task.seed, task.input);
}
