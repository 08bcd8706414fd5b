import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { createClient, wrapKey } from '../../src/client/node/index.ts';
import { base64 } from '../envelope/support.ts';
import { buildFaultyModule, type FaultyModule } from '../faults/hsm/faulty-module.ts';
import { startTestService, type TestService } from '../support/service.ts';

let faults: FaultyModule | undefined;
let service: TestService;
beforeAll(async () => {
  faults = buildFaultyModule();
  if (faults === undefined) return;
  const { module, environment } = faults;
  service = await startTestService({ env: { ...environment, STATHERA_PKCS11_MODULE: module } });
});
afterAll(async () => {
  faults?.clear();
  await service?.dispose();
  faults?.remove();
});
beforeEach(({ skip }) => {
  if (faults === undefined) skip('needs a C compiler');
});

/**
 * Guarantees that parameters that are replaced while a key under them is being opened bring in nothing: the HSM holds
 * the private key's operation back until the new ones are given out.
 */
test('replaced between opening and committing', async () => {
  const client = createClient({ url: service.url, credentials: service.token });
  const key = 'replaced';
  const made = await service.call('POST', '/v1/keys', { name: key, purpose: 'mac', origin: 'external' });
  expect(made.status).toBe(201);
  const old = await client.getImportParameters({ key, wrapping: 'rsa-aes-key-wrap-sha-256' });
  const { importId, wrappedKey } = await wrapKey(old, randomBytes(32));
  const before = faults?.injected('C_Decrypt') ?? 0;
  faults?.set('C_Decrypt', { kind: 'hang', times: 1 });
  const body = { importId, wrappedKey: base64(wrappedKey) };
  const importing = service.call('POST', `/v1/keys/${key}/import`, body);
  await vi.waitFor(() => expect(faults?.injected('C_Decrypt')).toBe(before + 1), 10_000);
  const fresh = await client.getImportParameters({ key, wrapping: 'hpke-x-wing' });
  faults?.clear();
  const answer = await importing;
  expect([answer.status, answer.body['code']]).toEqual([404, 'import/not-found']);
  expect((await service.call('GET', `/v1/keys/${key}`)).body).toMatchObject({ currentVersion: 0 });
  // The new ones are not spent by it.
  const imported = await client.importKey({ key, ...(await wrapKey(fresh, randomBytes(32))) });
  expect(imported).toMatchObject({ currentVersion: 1 });
});
