import { createHash, createPublicKey, verify } from 'node:crypto';
import { expect, test } from 'vitest';
import type { KeyRef } from '../../src/hsm/hsm.ts';
import { makeKey, openTestToken } from '../support/token.ts';

/**
 * Guarantees that signatures and pairs survive the module's planned re-initialize, in which their lanes' sessions and all
 * handles end: whatever is asked for meanwhile is right, nobody is refused, and the process ends in order.
 */
test('across generations', { timeout: 240_000 }, async () => {
  const renewed: unknown[] = [];
  const token = await openTestToken(
    {},
    (_level, event, fields) => {
      if (event === 'hsm.renewed') renewed.push(fields['generation']);
    },
    { renewAfterObjects: 40 },
  );
  const { hsm } = token;
  const kek = await makeKey(hsm, 'kek');
  const message = Buffer.from('a message');
  const digest = createHash('sha256').update(message).digest();
  const made = await Promise.all(
    Array.from({ length: 12 }, async (_, index) => {
      const kind = index % 4 === 0 ? 'rsa-2048' : 'ec-p256';
      return { kind, ...(await hsm.generatePair(kind, kek)) } as const;
    }),
  );
  for (let round = 0; round < 3; round++) {
    const signed = made.map(async ({ kind, blob, publicKey }, index) => {
      // Another id is unwrapped anew, which makes an object.
      const ref: KeyRef = { id: `pair ${index}, ${round}`, kind, blob, under: kek };
      if (kind === 'rsa-2048') {
        const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
        const info = Buffer.from('3031300d060960864801650304020105000420', 'hex');
        const signature = await hsm.sign(ref, 'rsa-pkcs1', Buffer.concat([info, digest]));
        return verify('sha256', message, key, signature);
      }
      const prefix = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
      const key = createPublicKey({ key: Buffer.concat([prefix, publicKey]), format: 'der', type: 'spki' });
      const signature = await hsm.sign(ref, 'ecdsa', digest);
      return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
    });
    const pairs = Array.from({ length: 2 }, () => hsm.generatePair('ec-p256', kek));
    expect(await Promise.all(signed)).toEqual(made.map(() => true));
    for (const { publicKey } of await Promise.all(pairs)) expect(publicKey).toHaveLength(65);
  }
  expect(hsm.status().state).toBe('ready');
  expect(hsm.status().generation).toBeGreaterThan(1);
  await token.close();
  expect(renewed.length).toBeGreaterThan(0);
});
