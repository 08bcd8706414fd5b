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
