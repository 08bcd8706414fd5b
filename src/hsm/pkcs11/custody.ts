import pkcs11js from 'pkcs11js';
import type { Cryptoki, Handle } from './cryptoki.ts';
import { wrapAnswerKey } from './known-answers.ts';
import { knownKeyTemplate } from './objects.ts';

/**
 * Whether CKA_EXTRACTABLE false keeps a key in the token, tried on a key whose value is no secret: C_WrapKey
 * must refuse it (PKCS#11 v2.40 §5.13.3) and C_CopyObject must not make an extractable one of it (§5.7.2).
 */
export function keepsUnextractable(cryptoki: Cryptoki, session: Handle, wrapMechanism: number): boolean {
  const made: Handle[] = [];
  const refuses = (attempt: () => unknown): boolean => {
    try {
      attempt();
      return false;
    } catch {
      return true;
    }
  };
  try {
    const kek = wrapAnswerKey(cryptoki, session);
    made.push(kek);
    const template = knownKeyTemplate('aes', Buffer.alloc(32, 1), [], { extractable: false });
    const kept = cryptoki.C_CreateObject(session, template);
    made.push(kept);
    const mechanism = { mechanism: wrapMechanism };
    const loosened = [{ type: pkcs11js.CKA_EXTRACTABLE, value: true }];
    const unwrappable = refuses(() => cryptoki.C_WrapKey(session, mechanism, kek, kept, Buffer.alloc(64)));
    const uncopied = refuses(() => made.push(cryptoki.C_CopyObject(session, kept, loosened)));
    return unwrappable && uncopied;
  } finally {
    for (const key of made) cryptoki.C_DestroyObject(session, key);
  }
}
