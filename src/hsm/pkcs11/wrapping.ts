import type pkcs11js from 'pkcs11js';
import { equalBytes } from '../../core/bytes.ts';
import { type Cryptoki, failureKind, type Handle } from './cryptoki.ts';
import { wrapAnswer, wrapAnswerKey } from './known-answers.ts';
import { transitTemplate } from './objects.ts';
import type { Wrapper } from './slow-protocol.ts';

/** AES-KWP on one session, and the probes that tell a bad blob from a bad device. */
export interface Wrapping {
  wrap(by: Handle, key: Handle): Buffer;
  unwrap(by: Handle, blob: Uint8Array, template: pkcs11js.Template): Handle;
  destroy(key: Handle): void;
  /** Wraps and unwraps with the root. @throws when that fails or gives another answer */
  probeRoot(): void;
  /** True when a known blob unwraps, and with it the root when that was used. */
  works(by: Wrapper | undefined): boolean;
}

/** A blob of a secret key is 24 or 40 bytes, of RSA-4096 some 2,400; room for larger ones of other vendors' padding. */
export const maxBlobBytes = 4096;

/** @throws the module's error when the root does not wrap */
export function createWrapping(
  cryptoki: Cryptoki,
  session: Handle,
  { root, wrapMechanism }: { root: Handle; wrapMechanism: number },
): Wrapping {
  const mechanism = { mechanism: wrapMechanism };
  const probeKek = wrapAnswerKey(cryptoki, session);
  const wrapping: Wrapping = {
    wrap: (by, key) => cryptoki.C_WrapKey(session, mechanism, by, key, Buffer.alloc(maxBlobBytes)),
    unwrap: (by, blob, template) => cryptoki.C_UnwrapKey(session, mechanism, by, Buffer.from(blob), template),
    destroy(key) {
      try {
        cryptoki.C_DestroyObject(session, key);
      } catch (error) {
        // An object that is gone already is what was asked for.
        if (failureKind(error) !== 'handle') throw error;
      }
    },
    probeRoot() {
      // AES-KWP is deterministic: the root, if it is the same and works, wraps to the same bytes.
      if (!equalBytes(wrapping.wrap(root, probeKek), rootAnswer))
        throw new Error('the root gave another answer');
      wrapping.destroy(wrapping.unwrap(root, rootAnswer, transitTemplate('hmac-256')));
    },
    works(by) {
      try {
        wrapAnswer(cryptoki, session, probeKek, wrapMechanism);
        if (by === 'root') wrapping.probeRoot();
        return true;
      } catch {
        return false;
      }
    },
  };
  const rootAnswer = wrapping.wrap(root, probeKek);
  return wrapping;
}
