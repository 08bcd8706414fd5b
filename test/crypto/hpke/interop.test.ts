import * as other from 'hpke';
import { describe, expect, test } from 'vitest';
import {
  openFrom,
  receiveExport,
  sealTo,
  sendExport,
  setupRecipient,
  setupSender,
} from '../../../src/crypto/hpke/hpke.ts';
import { hpkeKems } from '../../../src/crypto/hpke/kem.ts';
import { hpkeSuite } from '../../../src/crypto/hpke/suites.ts';
import { hexOf } from '../kem/support.ts';
import { pairOf, sealingSuites } from './support.ts';

// The `hpke` package, on Web Crypto. It has no modes with a sender's key: those are held by RFC 9180's vectors alone.

const kems = {
  'x-wing': other.KEM_MLKEM768_X25519,
  'ml-kem-768': other.KEM_ML_KEM_768,
  x25519: other.KEM_DHKEM_X25519_HKDF_SHA256,
  p256: other.KEM_DHKEM_P256_HKDF_SHA256,
} as const;
const aeads = {
  'aes-256-gcm': other.AEAD_AES_256_GCM,
  'aes-128-gcm': other.AEAD_AES_128_GCM,
  'chacha20-poly1305': other.AEAD_ChaCha20Poly1305,
  'export-only': other.AEAD_EXPORT_ONLY,
} as const;

const info = Buffer.from('an application');
const aad = Buffer.from('a row');
const plaintext = Buffer.from('to be kept');
const known = { psk: Buffer.alloc(32, 7), pskId: Buffer.from('which') };

describe.each(sealingSuites)('$name', (suite) => {
  const { kem, aead } = suite;
  const theirs = new other.CipherSuite<other.Key>(kems[kem], other.KDF_HKDF_SHA256, aeads[aead]);
  const pair = pairOf(kem, 5);
  const recipient = () => {
    const ready = hpkeKems[kem].recipient(pair.publicKey);
    if (ready === undefined) throw new Error('no public key');
    return ready;
  };

  /** Guarantees that the package opens what is sealed here, and the other way round, without and with a PSK. */
  test.for([undefined, known])('both ways', async (psk) => {
    const privateKey = await theirs.DeserializePrivateKey(pair.seed, true);
    const publicKey = await theirs.DeserializePublicKey(pair.publicKey);
    const sealed = await sealTo(suite, { recipient: recipient(), info, psk, aad, plaintext });
    const keyPair = { privateKey, publicKey };
    const opened = await theirs.Open(keyPair, sealed?.enc ?? aad, sealed?.ciphertext ?? aad, {
      info,
      aad,
      ...psk,
    });
    expect(hexOf(opened)).toBe(hexOf(plaintext));
    const made = await theirs.Seal(publicKey, plaintext, { info, aad, ...psk });
    const { encapsulatedSecret: enc, ciphertext } = made;
    expect(hexOf(await openFrom(suite, { recipient: pair, enc, info, psk, aad, ciphertext }))).toBe(
      hexOf(plaintext),
    );
  });

  /** Guarantees that several messages of one encapsulation, and its exports, are the package's too. */
  test('contexts', async () => {
    const publicKey = await theirs.DeserializePublicKey(pair.publicKey);
    const keyPair = { privateKey: await theirs.DeserializePrivateKey(pair.seed, true), publicKey };
    const sending = await setupSender(suite, { recipient: recipient(), info });
    const receiving = await theirs.SetupRecipient(keyPair, sending?.enc ?? aad, { info });
    for (let count = 0; count < 300; count += 1) {
      const sealed = sending?.context.seal(aad, plaintext) ?? aad;
      expect(hexOf(await receiving.Open(sealed, aad))).toBe(hexOf(plaintext));
    }
    expect(hexOf(await receiving.Export(aad, 77))).toBe(hexOf(sending?.context.export(aad, 77)));
    const from = await theirs.SetupSender(publicKey, { info });
    const ours = await setupRecipient(suite, { recipient: pair, enc: from.encapsulatedSecret, info });
    for (let count = 0; count < 300; count += 1)
      expect(hexOf(ours?.open(aad, await from.ctx.Seal(plaintext, aad)))).toBe(hexOf(plaintext));
  });
});

/** Guarantees that secrets of the export-only suites are the package's. */
test.for(Object.keys(kems) as (keyof typeof kems)[])('export-only, %s', async (kem) => {
  const suite = hpkeSuite(kem, 'export-only');
  const theirs = new other.CipherSuite<other.Key>(kems[kem], other.KDF_HKDF_SHA256, aeads['export-only']);
  const pair = pairOf(kem, 6);
  const recipient = hpkeKems[kem].recipient(pair.publicKey);
  if (recipient === undefined) throw new Error('no public key');
  const publicKey = await theirs.DeserializePublicKey(pair.publicKey);
  const keyPair = { privateKey: await theirs.DeserializePrivateKey(pair.seed, true), publicKey };
  const exporting = { exporterContext: aad, bytes: 48 };
  const sent = await sendExport(suite, { recipient, info, ...exporting });
  const { enc = aad, exported } = sent ?? {};
  expect(hexOf(await theirs.ReceiveExport(keyPair, enc, aad, 48, { info }))).toBe(hexOf(exported));
  const from = await theirs.SendExport(publicKey, aad, 48, { info });
  const received = await receiveExport(suite, {
    ...{ recipient: pair, info, enc: from.encapsulatedSecret },
    ...exporting,
  });
  expect(hexOf(received)).toBe(hexOf(from.exportedSecret));
});
