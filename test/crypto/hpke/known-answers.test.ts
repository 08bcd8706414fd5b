import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { pairKnownAnswers } from '../../../src/crypto/hpke/known-answers.ts';
import { committedCases } from '../../support/vectors.ts';
import { hexOf } from '../kem/support.ts';

/** Guarantees that what is asked at the start is answered as published, and that the answers are those published. */
test('the known answers asked at the start', async () => {
  const answers = await pairKnownAnswers();
  expect(answers.map(({ algorithm }) => algorithm)).toEqual([
    ...['X-Wing, public key', 'X-Wing', 'ECDH P-256', 'HPKE'],
  ]);
  for (const { answer, expected } of answers) expect(hexOf(answer)).toBe(hexOf(expected));
  const [xWing] = committedCases<{ ss: string }>('x-wing');
  const [ecdh] = committedCases<{ shared: string }>('ecdh-p256');
  const [hpke] = committedCases<{ encryptions: { pt: string }[] }>('hpke');
  const published = [xWing?.ss, ecdh?.shared, hpke?.encryptions[0]?.pt];
  expect(answers.slice(1).map(({ expected }) => hexOf(expected))).toEqual(published);
});

/** Guarantees that a runtime whose X25519 computes wrongly serves nothing: it is asked before anything is made. */
test('a runtime that computes wrongly', () => {
  const program = `
    import crypto from 'node:crypto';
    import { syncBuiltinESMExports } from 'node:module';
    const { processKnownAnswers } = await import('./src/hsm/pkcs11/known-answers.ts');
    await processKnownAnswers();
    const right = crypto.diffieHellman;
    crypto.diffieHellman = (keys, callback) => {
      const secret = right(keys);
      secret[0] ^= 1;
      return callback === undefined ? secret : callback(null, secret);
    };
    syncBuiltinESMExports();
    await processKnownAnswers().catch(({ name, algorithm }) => console.log(name, algorithm));`;
  const printed = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  expect(printed.trim()).toBe('KnownAnswerMismatch X-Wing');
});
