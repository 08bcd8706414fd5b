import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { signatureKnownAnswers } from '../../../src/crypto/signatures/known-answers.ts';
import { compositeCase, slhDsaCase } from '../../../src/crypto/signatures/known-signatures.ts';
import { committedCases } from '../../support/vectors.ts';
import { hexOf } from '../kem/support.ts';

/** Guarantees that what is asked at the start is answered as published. */
test('the known answers asked at the start', () => {
  const answers = signatureKnownAnswers();
  expect(answers.map(({ algorithm }) => algorithm)).toEqual([
    ...['ed25519, signing', 'ed25519, verifying', 'ecdsa-p256, verifying', 'rsa-pss-2048, verifying'],
    ...['ml-dsa-65, public key', 'ml-dsa-65, signing'],
    ...['ml-dsa-65-ed25519, public key', 'ml-dsa-65-ed25519, signing', 'ml-dsa-65-ed25519, verifying'],
    'slh-dsa-sha2-128s, verifying',
  ]);
  for (const { algorithm, answer, expected } of answers)
    expect([algorithm, hexOf(answer)]).toEqual([algorithm, hexOf(expected)]);
});

/** Guarantees that the long ones are those that were published. */
test('the published signatures', () => {
  const cases = committedCases<{ signature: string; publicKey: string }>('signatures');
  const find = (signature: string) => cases.find((one) => one.signature === signature)?.publicKey ?? '';
  expect(find(slhDsaCase.signature)).toBe(slhDsaCase.publicKey);
  const publicKey = Buffer.from(find(compositeCase.signature), 'base64');
  expect(createHash('sha256').update(publicKey).digest('base64')).toBe(compositeCase.publicKeySha256);
});

/**
 * What a runtime does wrongly, and the algorithm it must be refused for. `type` is OpenSSL's name in the program below,
 * which spoils that one alone.
 */
const wrongRuntimes = [
  ['sign', 'ed25519', 'ed25519, signing'],
  ['refuse', 'ed25519', 'ed25519, verifying'],
  ['take all', 'ed25519', 'ed25519, verifying'],
  ['take all', 'ec', 'ecdsa-p256, verifying'],
  ['refuse', 'rsa', 'rsa-pss-2048, verifying'],
  ['sign', 'ml-dsa-65', 'ml-dsa-65, signing'],
  ['take all', 'ml-dsa-65', 'ml-dsa-65, signing'],
  ['derive', 'ml-dsa-65', 'ml-dsa-65, public key'],
  ['refuse', 'slh-dsa-sha2-128s', 'slh-dsa-sha2-128s, verifying'],
  ['take all', 'slh-dsa-sha2-128s', 'slh-dsa-sha2-128s, verifying'],
] as const;

/** Guarantees that a runtime that signs, verifies or makes keys wrongly serves nothing, whichever algorithm it is. */
test('runtimes that compute wrongly', () => {
  const program = `
    import crypto from 'node:crypto';
    import { syncBuiltinESMExports } from 'node:module';
    const { processKnownAnswers } = await import('./src/hsm/pkcs11/known-answers.ts');
    await processKnownAnswers();
    const { sign, verify, createPrivateKey } = crypto;
    const typeOf = (key) => (key.key ?? key).asymmetricKeyType;
    for (const [way, type] of ${JSON.stringify(wrongRuntimes)}) {
      crypto.sign = (hash, data, key) => {
        const signature = sign(hash, data, key);
        if (way === 'sign' && typeOf(key) === type) signature[5] ^= 1;
        return signature;
      };
      crypto.verify = (hash, data, key, signature) => {
        if (typeOf(key) !== type || (way !== 'refuse' && way !== 'take all')) {
          return verify(hash, data, key, signature);
        }
        return way === 'take all';
      };
      crypto.createPrivateKey = (input) => {
        if (way === 'derive' && input.asymmetricKeyType === type) input.key[0] ^= 1;
        return createPrivateKey(input);
      };
      syncBuiltinESMExports();
      await processKnownAnswers().then(
        () => console.log('none'),
        ({ name, algorithm }) => console.log(name + ' ' + algorithm),
      );
    }`;
  const printed = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  const expected = wrongRuntimes.map(([, , algorithm]) => `KnownAnswerMismatch ${algorithm}`);
  expect(printed.trim().split('\n')).toEqual(expected);
});
