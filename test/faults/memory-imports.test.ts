import { constants, publicEncrypt, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient, wrapKey } from '../../src/client/node/index.ts';
import { importWrappings } from '../../src/crypto/import-wrapping.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { residuesIn } from './process-memory.ts';

let service: TestService;
beforeAll(async () => {
  service = await startTestService();
});
afterAll(() => service.dispose());

/** What the system lets no process read of another cannot be searched. */
function unreadable(error: unknown): boolean {
  return ['EPERM', 'EACCES'].includes(String((error as NodeJS.ErrnoException).code));
}

/**
 * Guarantees that keys that were imported, refused or used are nowhere in the service's memory once that is answered,
 * and that of what RSA decrypted base64 texts remain at most.
 */
test('imported keys do not remain in memory', { timeout: 300_000 }, async ({ skip }) => {
  const client = createClient({ url: service.url, credentials: service.token });
  const keys = [];
  for (const wrapping of importWrappings) {
    for (const algorithm of ['aes-256-gcm', 'hmac-sha-512', 'chacha20-poly1305'] as const) {
      const name = `${algorithm}-${wrapping}`;
      await client.createKey({ name, algorithm, origin: 'external' });
      const parameters = await client.getImportParameters({ key: name, wrapping });
      const key = randomBytes(parameters.keyBytes);
      keys.push({ name, bytes: key });
      const wrapped = await wrapKey(parameters, key);
      const refused = { ...wrapped, checkValue: Uint8Array.from(randomBytes(5)) };
      await expect(client.importKey({ key: name, ...refused })).rejects.toMatchObject({
        code: 'request/invalid',
      });
      await client.importKey({ key: name, ...wrapped });
      if (algorithm !== 'hmac-sha-512') await client.encrypt({ key: name, plaintext: new Uint8Array(8) });
    }
  }
  await client.createKey({ name: 'oaep', algorithm: 'rsa-oaep-2048' });
  const { pem = '' } = await client.getPublicKey({ key: 'oaep' });
  const decrypted = { name: 'decrypted', bytes: randomBytes(48) };
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const ciphertext = publicEncrypt({ key: pem, padding, oaepHash: 'sha256' }, decrypted.bytes);
  await client.decryptOaep({ key: 'oaep', ciphertext });
  const control = { name: 'token', bytes: Buffer.from(service.token) };
  const found = await residuesIn(service.pid, [...keys, decrypted, control]).catch((error: unknown) => {
    const allowed = process.env['CI'] === undefined && unreadable(error);
    skip(allowed, 'the system does not let one process read another’s memory');
    throw error;
  });
  const forms = [...found.keys()];
  expect(forms).toContain('token raw');
  const left = forms.filter((form) => !form.startsWith('token '));
  expect(left.filter((form) => !/^decrypted base64(url)?$/.test(form))).toEqual([]);
});
