import { createCipheriv, createDecipheriv, createHmac, createSecretKey } from 'node:crypto';
import pkcs11js from 'pkcs11js';
import { equalBytes, utf8, wipe } from '../../core/bytes.ts';
import { type MessageKey, openMessage, sealMessage, xchachaKey } from '../../crypto/aead.ts';
import { pairKnownAnswers } from '../../crypto/hpke/known-answers.ts';
import { deriveCounterMode, hkdf } from '../../crypto/kdf.ts';
import { signatureKnownAnswers } from '../../crypto/signatures/known-answers.ts';
import type { Cryptoki, Handle } from './cryptoki.ts';
import { knownKeyTemplate, transitTemplate } from './objects.ts';

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

/** McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 4 (AES-128) and 16 (AES-256). */
const gcmCommon = {
  nonce: hex('cafebabefacedbaddecaf888'),
  aad: hex('feedfacedeadbeeffeedfacedeadbeefabaddad2'),
  plaintext: hex(
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
  ),
};
export const gcmCases = [
  {
    ...gcmCommon,
    cipher: 'aes-128-gcm',
    key: hex('feffe9928665731c6d6a8f9467308308'),
    sealed: hex(
      '42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47',
    ),
  },
  {
    ...gcmCommon,
    cipher: 'aes-256-gcm',
    key: hex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308'),
    sealed: hex(
      '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b',
    ),
  },
] as const;

/** RFC 4231 §4.7: a 131-byte key, since SoftHSM refuses HMAC keys below the digest's length. */
const hmacCase = {
  key: Buffer.alloc(131, 0xaa),
  data: utf8('Test Using Larger Than Block-Size Key - Hash Key First'),
  mac: hex('60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54'),
};
const hmacAnswers = [
  { algorithm: 'HMAC-SHA-256', mechanism: pkcs11js.CKM_SHA256_HMAC, mac: hmacCase.mac },
  {
    algorithm: 'HMAC-SHA-384',
    mechanism: pkcs11js.CKM_SHA384_HMAC,
    mac: hex(
      '4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952',
    ),
  },
  {
    algorithm: 'HMAC-SHA-512',
    mechanism: pkcs11js.CKM_SHA512_HMAC,
    mac: hex(
      '80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598',
    ),
  },
] as const;

/** NIST SP 800-38B, examples of CMAC-AES256 (D.3): one whole block. */
const cmacCase = {
  key: hex('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4'),
  data: hex('6bc1bee22e409f96e93d7e117393172a'),
  mac: hex('28a7023f452e8f82bd4bf28d8c37c35c'),
};

/**
 * Wycheproof aes_kwp_test, tcId 167. Not the example of RFC 5649 §6, whose 20 bytes SoftHSM fills up to 24
 * before it wraps them (MLI 24, not 20); keys of ours are whole semiblocks, as here.
 */
const wrapCase = {
  wrappingKey: hex('38e1b1d075d9d852b9a6c01c8ff6965af01bac457a4e339ae3e1d7b2ffacc0cd'),
  key: hex('80ad6820f1c90981e2ca42b817a345c1179d0a11d8e23a8adc0505e13d87295a'),
  wrapped: hex('b63b7e0fec7e315816233db6758fd3e744b9f6a40862bdf866487e53bcb950d8b2649269e51b4475'),
};

const sunscreen = utf8(
  "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
);
const chachaKey = hex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f');
const chachaAad = hex('50515253c0c1c2c3c4c5c6c7');
/** RFC 8439 §2.8.2, and draft-irtf-cfrg-xchacha-03 A.3.1. */
const chachaCases = [
  {
    algorithm: 'ChaCha20-Poly1305',
    messageKey: (): MessageKey => ({
      cipher: 'chacha20-poly1305',
      key: chachaKey,
      nonce: hex('070000004041424344454647'),
    }),
    sealed: hex(
      'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691',
    ),
  },
  {
    algorithm: 'XChaCha20-Poly1305',
    messageKey: (): MessageKey =>
      xchachaKey(chachaKey, hex('404142434445464748494a4b4c4d4e4f5051525354555657')),
    sealed: hex(
      'bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49',
    ),
  },
] as const;

/** RFC 5869 A.1. */
const hkdfCase = {
  secret: Buffer.alloc(22, 0x0b),
  salt: hex('000102030405060708090a0b0c'),
  info: hex('f0f1f2f3f4f5f6f7f8f9'),
  derived: hex('3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865'),
};

/** RFC 8009 A, PRF of aes128-cts-hmac-sha256-128: SP 800-108 counter mode, label "prf", context "test". */
const counterModeCase = {
  key: hex('3705d96080c17728a0e800eab6e0d23c'),
  label: 'prf',
  context: utf8('test'),
  derived: hex('9d188616f63852fe86915bb840b4a886ff3e6bb0f819b49b893393d393854295'),
};

/** A known-answer test gave another answer: nothing may be encrypted on this device or runtime. */
export class KnownAnswerMismatch extends Error {
  readonly algorithm: string;

  constructor(algorithm: string) {
    super(`known-answer test failed: ${algorithm}`);
    this.name = 'KnownAnswerMismatch';
    this.algorithm = algorithm;
  }
}

function expectAnswer(algorithm: string, answer: Uint8Array, expected: Uint8Array): void {
  if (!equalBytes(answer, expected)) throw new KnownAnswerMismatch(algorithm);
}

export function gcmMechanism(nonce: Buffer, aad: Buffer): pkcs11js.Mechanism {
  // The v2.40 structure: modules read ulIvBits, which the older one lacks.
  const parameter = { type: pkcs11js.CK_PARAMS_AES_GCM_v240, iv: nonce, ivBits: 96, aad, tagBits: 128 };
  return { mechanism: pkcs11js.CKM_AES_GCM, parameter };
}

/**
 * Runs the token's known-answer tests on `session` with published keys as session objects, destroyed after.
 * @throws KnownAnswerMismatch, or the module's error
 */
export function tokenKnownAnswers(cryptoki: Cryptoki, session: Handle, wrapMechanism: number): void {
  for (const known of gcmCases) {
    withKey(cryptoki, session, knownKeyTemplate('aes', known.key, ['encrypt', 'decrypt']), (key) =>
      gcmAnswer(cryptoki, session, key, known),
    );
  }
  withKey(cryptoki, session, knownKeyTemplate('generic', hmacCase.key, ['sign']), (key) => {
    for (const { algorithm, mechanism, mac } of hmacAnswers) {
      cryptoki.C_SignInit(session, { mechanism }, key);
      const answer = cryptoki.C_Sign(session, Buffer.from(hmacCase.data), Buffer.alloc(mac.length));
      expectAnswer(algorithm, answer, mac);
    }
  });
  withKey(cryptoki, session, knownKeyTemplate('aes', cmacCase.key, ['sign']), (key) => {
    cryptoki.C_SignInit(session, { mechanism: pkcs11js.CKM_AES_CMAC }, key);
    expectAnswer('AES-CMAC', cryptoki.C_Sign(session, cmacCase.data, Buffer.alloc(16)), cmacCase.mac);
  });
  withKey(cryptoki, session, knownKeyTemplate('aes', wrapCase.wrappingKey, ['wrap', 'unwrap']), (kek) =>
    withKey(cryptoki, session, knownKeyTemplate('generic', wrapCase.key, []), (key) => {
      const wrapped = cryptoki.C_WrapKey(session, { mechanism: wrapMechanism }, kek, key, Buffer.alloc(64));
      expectAnswer('AES-KWP', wrapped, wrapCase.wrapped);
      wrapAnswer(cryptoki, session, kek, wrapMechanism);
    }),
  );
}

/** The published wrapping key, with which `wrapAnswer` proves the device at any time. */
export function wrapAnswerKey(cryptoki: Cryptoki, session: Handle): Handle {
  return cryptoki.C_CreateObject(session, knownKeyTemplate('aes', wrapCase.wrappingKey, ['wrap', 'unwrap']));
}

/** Unwraps the published blob under `kek` and wraps it again, which must give the same bytes. */
export function wrapAnswer(cryptoki: Cryptoki, session: Handle, kek: Handle, wrapMechanism: number): void {
  const mechanism = { mechanism: wrapMechanism };
  const key = cryptoki.C_UnwrapKey(session, mechanism, kek, wrapCase.wrapped, transitTemplate('hmac-256'));
  try {
    const wrapped = cryptoki.C_WrapKey(session, mechanism, kek, key, Buffer.alloc(64));
    expectAnswer('AES-KWP', wrapped, wrapCase.wrapped);
  } finally {
    cryptoki.C_DestroyObject(session, key);
  }
}

/** Encrypts and decrypts one published case under `key`, which must hold its value. */
export function gcmAnswer(
  cryptoki: Cryptoki,
  session: Handle,
  key: Handle,
  known: (typeof gcmCases)[number],
): void {
  cryptoki.C_EncryptInit(session, gcmMechanism(known.nonce, known.aad), key);
  const sealed = cryptoki.C_Encrypt(session, known.plaintext, Buffer.alloc(known.sealed.length));
  expectAnswer(known.cipher, sealed, known.sealed);
  cryptoki.C_DecryptInit(session, gcmMechanism(known.nonce, known.aad), key);
  const opened = cryptoki.C_Decrypt(session, known.sealed, Buffer.alloc(known.sealed.length));
  expectAnswer(known.cipher, opened, known.plaintext);
}

function withKey(
  cryptoki: Cryptoki,
  session: Handle,
  template: pkcs11js.Template,
  use: (key: Handle) => void,
): void {
  const key = cryptoki.C_CreateObject(session, template);
  try {
    use(key);
  } finally {
    cryptoki.C_DestroyObject(session, key);
  }
}

/**
 * Runs the known-answer tests of what is computed in this process: AES-GCM, ChaCha20-Poly1305 and XChaCha20-Poly1305,
 * HMAC, HKDF, SP 800-108, X-Wing with ML-KEM-768 and X25519, ECDH over P-256, HPKE, signatures.
 * @throws KnownAnswerMismatch
 */
export async function processKnownAnswers(): Promise<void> {
  for (const known of gcmCases) {
    const key = createSecretKey(known.key);
    const options = { authTagLength: 16 } as const;
    const seal = createCipheriv(known.cipher, key, known.nonce, options).setAAD(known.aad);
    const sealed = Buffer.concat([seal.update(known.plaintext), seal.final(), seal.getAuthTag()]);
    expectAnswer(`${known.cipher} in process`, sealed, known.sealed);
    const open = createDecipheriv(known.cipher, key, known.nonce, options).setAAD(known.aad);
    open.setAuthTag(known.sealed.subarray(-16));
    const opened = Buffer.concat([open.update(known.sealed.subarray(0, -16)), open.final()]);
    expectAnswer(`${known.cipher} in process`, opened, known.plaintext);
  }
  for (const { algorithm, messageKey, sealed } of chachaCases) {
    expectAnswer(algorithm, sealMessage(messageKey(), chachaAad, sunscreen), sealed);
    const opened = openMessage(messageKey(), chachaAad, sealed);
    expectAnswer(algorithm, opened ?? new Uint8Array(0), sunscreen);
  }
  const hmac = (key: Buffer, data: Uint8Array): Buffer =>
    createHmac('sha256', createSecretKey(key)).update(data).digest();
  expectAnswer('HMAC-SHA-256 in process', hmac(hmacCase.key, hmacCase.data), hmacCase.mac);
  const expanded = hkdf('sha256', { ...hkdfCase, bytes: hkdfCase.derived.length });
  expectAnswer('HKDF-SHA-256', expanded, hkdfCase.derived);
  const derived = await deriveCounterMode(async (data) => hmac(counterModeCase.key, data), {
    label: counterModeCase.label,
    context: counterModeCase.context,
    bytes: counterModeCase.derived.length,
  });
  expectAnswer('SP 800-108 counter mode', derived, counterModeCase.derived);
  wipe(expanded, derived);
  for (const { algorithm, answer, expected } of [...(await pairKnownAnswers()), ...signatureKnownAnswers()])
    expectAnswer(algorithm, answer ?? new Uint8Array(0), expected);
}
