import { constants, createHmac, createPublicKey, publicEncrypt } from 'node:crypto';
import pkcs11js from 'pkcs11js';
import { equalBytes } from '../../core/bytes.ts';
import { transportKeyBits } from '../hsm.ts';
import type { Cryptoki, Handle } from './cryptoki.ts';
import { inSession } from './describe.ts';
import { findRoot } from './login.ts';
import { moduleTraits } from './modules.ts';
import { inUseTemplate, mechanismList } from './objects.ts';
import { fsyncTree, tokensFolder } from './softhsm.ts';
import type { TokenSettings, TransportKey } from './token.ts';
import { TokenRefusal } from './token-refusal.ts';
import { findTransportKey, oaep, publicKeyOf, transportSearchTemplate } from './transport.ts';
import { usages } from './usages.ts';

/**
 * The token's transport key, made if there is none: `provisionTransportKey` runs this in a child. It never leaves the
 * token, and does nothing but unwrap.
 * @throws TokenRefusal, or the module's error
 */
export function transportKeyHere(settings: TokenSettings): TransportKey {
  const key = inSession(
    settings,
    (cryptoki, session, slot) => {
      const { rootId } = findRoot(cryptoki, session);
      if (!cryptoki.C_GetMechanismList(slot).includes(pkcs11js.CKM_RSA_PKCS_OAEP))
        throw new TokenRefusal('The token has no CKM_RSA_PKCS_OAEP, which keys are handed over by.');
      const handle =
        findTransportKey(cryptoki, session, rootId) ?? make(cryptoki, session, { rootId, settings });
      const publicKey = publicKeyOf(cryptoki, session, handle);
      prove(cryptoki, session, { handle, publicKey });
      return { rootId, publicKey };
    },
    { writable: true },
  );
  // SoftHSM syncs nothing.
  if (settings.softhsmConf !== undefined) fsyncTree(tokensFolder(settings.softhsmConf));
  return key;
}

function make(
  cryptoki: Cryptoki,
  session: Handle,
  { rootId, settings }: { rootId: string; settings: TokenSettings },
): Handle {
  const { rootAllowedMechanisms: restricts } = moduleTraits(settings.module);
  const publicKey = [
    { type: pkcs11js.CKA_TOKEN, value: false },
    { type: pkcs11js.CKA_PRIVATE, value: false },
    ...usages([], ['encrypt', 'verify', 'wrap']),
    { type: pkcs11js.CKA_MODULUS_BITS, value: transportKeyBits },
    // 65,537, FIPS 186-5 §5.1.
    { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
  ];
  const privateKey = [
    ...transportSearchTemplate(rootId),
    { type: pkcs11js.CKA_PRIVATE, value: true },
    { type: pkcs11js.CKA_SENSITIVE, value: true },
    { type: pkcs11js.CKA_EXTRACTABLE, value: false },
    ...usages(['unwrap'], ['decrypt', 'sign', 'unwrap', 'derive']),
    ...(restricts ? [{ type: pkcs11js.CKA_ALLOWED_MECHANISMS, value: mechanismList(oaep.mechanism) }] : []),
  ];
  const mechanism = { mechanism: pkcs11js.CKM_RSA_PKCS_KEY_PAIR_GEN };
  // The class is the mechanism's to say.
  const given = privateKey.filter(({ type }) => type !== pkcs11js.CKA_CLASS);
  return cryptoki.C_GenerateKeyPair(session, mechanism, publicKey, given).privateKey;
}

/** @throws when the private key does not open what the public one wraps */
function prove(
  cryptoki: Cryptoki,
  session: Handle,
  { handle, publicKey }: { handle: Handle; publicKey: Uint8Array },
): void {
  const value = Buffer.alloc(32, 0x17);
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const wrapped = publicEncrypt({ key, padding, oaepHash: 'sha1' }, value);
  const secret = cryptoki.C_UnwrapKey(session, oaep, handle, wrapped, inUseTemplate('hmac-256'));
  cryptoki.C_SignInit(session, { mechanism: pkcs11js.CKM_SHA256_HMAC }, secret);
  const mac = cryptoki.C_Sign(session, Buffer.from('proof'), Buffer.alloc(32));
  cryptoki.C_DestroyObject(session, secret);
  if (!equalBytes(mac, createHmac('sha256', value).update('proof').digest()))
    throw new Error('the transport key’s halves do not fit');
}
