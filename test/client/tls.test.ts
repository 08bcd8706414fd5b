import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient } from '../../src/client/node/index.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { failure, startFakeServer, token, transports } from './support.ts';

let dataDir: string;
let service: TestService;
let ca: string;
beforeAll(async () => {
  dataDir = await freshDataDir();
  const [certFile, keyFile] = [join(dataDir, 'cert.pem'), join(dataDir, 'key.pem')];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile];
  const subject = ['-subj', '/CN=stathera', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, '-out', certFile, ...subject], {
    stdio: 'ignore',
  });
  ca = readFileSync(certFile, 'utf8');
  const env = { STATHERA_TLS_CERT_FILE: certFile, STATHERA_TLS_KEY_FILE: keyFile };
  service = await startTestService({ dataDir, env });
});
afterAll(async () => {
  await service.dispose();
  await removeDirectory(dataDir);
});

/** Guarantees that the client speaks TLS to a service whose authority it is given, over kept connections. */
test('trusts the authority it is given', async () => {
  const client = createClient({ url: service.url, credentials: service.token, tls: { ca } });
  for (let index = 0; index < 5; index++) expect((await client.random({ bytes: 8 })).bytes).toHaveLength(8);
  expect(await client.service.metrics()).toMatch(/^stathera_http_connections 1$/m);
});

/** Guarantees that a certificate of nobody known, or of another name, ends a call at once, and that the token stays. */
test.each(transports)('trusts no other, by %s', async (_, create) => {
  const stranger = create({ url: service.url, credentials: service.token });
  expect(await failure(stranger.random({ bytes: 1 }))).toMatchObject({
    code: 'client/untrusted',
    attempts: 1,
  });
});

/** Guarantees that a name that is not the certificate's is refused although its authority is trusted. */
test('trusts no other name', async () => {
  const url = service.url.replace('127.0.0.1', 'localhost');
  const client = createClient({ url, credentials: service.token, tls: { ca } });
  expect(await failure(client.random({ bytes: 1 }))).toMatchObject({ code: 'client/untrusted', attempts: 1 });
});

/** Guarantees that http: to a TLS port, and https: to one without, are told as what they are. */
test.each(transports)('tells TLS from none, by %s', async (_, create) => {
  const plain = await startFakeServer((response) => response.end('hello'));
  const wrong = create({ url: plain.url.replace('http:', 'https:'), credentials: token, retries: 0 });
  expect(await failure(wrong.random({ bytes: 1 }))).toMatchObject({ code: 'client/not-stathera' });
  const clear = create({ url: service.url.replace('https:', 'http:'), credentials: token, retries: 0 });
  expect(['client/unreachable', 'client/not-stathera']).toContain(
    (await failure(clear.random({ bytes: 1 }))).code,
  );
  await plain.close();
});
