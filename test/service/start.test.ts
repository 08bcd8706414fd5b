import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { request as secureRequest } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as secureConnect } from 'node:tls';
import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import { makeKey, plaintext, recordsOnDisk, seal } from '../access/support.ts';
import {
  childEnvironment,
  emptyDirectory,
  freshDataDir,
  mainFile,
  removeDirectory,
  runMain,
} from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const anyPort = { STATHERA_LISTEN: '127.0.0.1:0' };

const services: TestService[] = [];
const directories: string[] = [];
afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.kill()));
  await Promise.all(directories.splice(0).map(removeDirectory));
});

async function dataDirectory(make = freshDataDir): Promise<string> {
  const directory = await make();
  directories.push(directory);
  return directory;
}

async function start(dataDir: string, env: Readonly<Record<string, string>> = {}): Promise<TestService> {
  const service = await startTestService({ dataDir, env });
  services.push(service);
  return service;
}

/** `serve` where it must not start: it ends by itself, says why and prints nothing else. */
async function refusedStart(dataDir: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
  const begun = performance.now();
  const ended = await runMain(
    ['serve'],
    { ...anyPort, STATHERA_DATA_DIR: dataDir, ...env },
    { allowFailure: true },
  );
  expect(performance.now() - begun).toBeLessThan(60_000);
  expect([ended.code, ended.stdout]).toEqual([1, '']);
  return ended.stderr;
}

const logins = (log: string) => log.split('"msg":"hsm.login"').length - 1;

/** Guarantees that an empty directory is never served: it may be a mount that failed. */
test('refuses what was not initialized', async () => {
  const directory = await dataDirectory(emptyDirectory);
  expect(await refusedStart(directory)).toMatch(/^stathera: .* is not initialized: run `stathera init`/);
  expect(existsSync(join(directory, 'stathera.db'))).toBe(false);
});

/** Guarantees that a service killed with its whole process group is back within seconds, with all it acknowledged. */
test('serves at once after a kill', { timeout: 60_000 }, async () => {
  const directory = await dataDirectory();
  let ciphertext = '';
  const times: number[] = [];
  for (let round = 0; round < 3; round += 1) {
    const begun = performance.now();
    const service = await start(directory);
    if (round === 0) await makeKey(service, 'kept');
    else {
      const opened = await service.call('POST', '/v1/decrypt', { ciphertext });
      expect(opened.body).toMatchObject({ plaintext });
    }
    times.push(performance.now() - begun);
    ciphertext = await seal(service, 'kept');
    await service.kill();
  }
  process.stdout.write(`start after SIGKILL, to its first answer: ${times.map(Math.round).join(', ')} ms\n`);
  expect(Math.min(...times)).toBeLessThan(5_000);
});

/** Guarantees that two processes serve one data directory, each with a log of its own, and one list of both's records. */
test('a second process beside the first', async () => {
  const service = await start(await dataDirectory());
  const second = await start(service.dataDir);
  await makeKey(service, 'of-the-first');
  await makeKey(second, 'of-the-second');
  for (const { call } of [service, second]) {
    const { body } = await call('GET', '/v1/audit/records?action=keys.create');
    const items = body['items'] as { writer: string; target: { name: string } }[];
    expect(items.map(({ writer, target }) => `${writer} ${target.name}`)).toEqual([
      'w2 of-the-second',
      'w1 of-the-first',
    ]);
  }
  const { port } = new URL(service.url);
  expect(await refusedStart(service.dataDir, { STATHERA_LISTEN: `127.0.0.1:${port}` })).toContain(
    'EADDRINUSE',
  );
});

/** Runs `init` and kills its process group after so long. @returns whether it was still at work */
async function killedInit(directory: string, afterMs: number): Promise<boolean> {
  const child = spawn(process.execPath, [mainFile, 'init'], {
    detached: true,
    stdio: 'ignore',
    env: childEnvironment({ STATHERA_DATA_DIR: directory }),
  });
  const closed = once(child, 'close');
  await Promise.race([closed, delay(afterMs)]);
  const working = child.exitCode === null;
  if (working) process.kill(-(child.pid ?? 0), 'SIGKILL');
  await closed;
  return working;
}

async function firstCallsWork(service: TestService): Promise<void> {
  expect((await service.call('POST', '/v1/keys', { name: 'payments' })).status).toBe(201);
  const ciphertext = await seal(service, 'payments', { context: { table: 'users', row: '42' } });
  const context = { row: '42', table: 'users' };
  const opened = await service.call('POST', '/v1/decrypt', { ciphertext, context });
  expect(opened.body).toMatchObject({ plaintext });
  expect((await service.call('POST', '/v1/keys/payments/rotate', {})).status).toBe(200);
}

/** Guarantees that a set-up killed anywhere, once or twice, is finished by the next one. */
test('finishes a killed set-up', { timeout: nightly ? 1_200_000 : 120_000 }, async () => {
  const whole = performance.now();
  await runMain(['init'], { STATHERA_DATA_DIR: join(await dataDirectory(emptyDirectory), 'data') });
  const longest = (performance.now() - whole) * 1.1;
  const delays = fc.sample(fc.tuple(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 3000 })), {
    numRuns: nightly ? 300 : 8,
  });
  let killed = 0;
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < delays.length; index = next++) {
      const [first, second] = delays[index] ?? [0, 0];
      const directory = join(await dataDirectory(emptyDirectory), 'data');
      if (await killedInit(directory, (first / 1000) * longest)) killed += 1;
      if (second < 1000) await killedInit(directory, (second / 1000) * longest);
      const env = { STATHERA_DATA_DIR: directory };
      // What takes more processes is looked at now and then.
      const thorough = nightly || index % 5 === 0;
      if (thorough && !existsSync(join(directory, 'initialized')))
        expect(await refusedStart(directory)).toContain('init');
      await runMain(['init'], env);
      if (!thorough) continue;
      expect((await runMain(['init'], env)).stdout).toContain('is complete: nothing to do');
      const service = await start(directory);
      await firstCallsWork(service);
      await service.kill();
    }
  };
  await Promise.all([lane(), lane(), lane()]);
  expect(killed).toBeGreaterThan(delays.length / 2);
});

/** Guarantees that what a start prints can be pasted into a shell and does what it says. */
test('prints first calls that work', async ({ skip }) => {
  skip(spawnSync('curl', ['--version']).status !== 0, 'needs curl');
  const service = await start(await dataDirectory());
  const lines = service.stdout().split('\n');
  const calls = lines.slice(lines.findIndex((line) => line.startsWith('First calls')) + 1).join('\n');
  const pasted = spawnSync('bash', ['-euc', calls], { encoding: 'utf8' });
  expect([pasted.status, pasted.stderr]).toEqual([0, '']);
  const [made, sealed, refused, rotated, records] = pasted.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(made).toMatchObject({ name: 'payments', currentVersion: 1 });
  expect(sealed).toMatchObject({ keyVersion: 1, ciphertext: expect.any(String) });
  // The ciphertext is for the reader to fill in.
  expect(refused).toMatchObject({ code: 'request/invalid' });
  expect(rotated).toMatchObject({ currentVersion: 2 });
  const actions = ['keys.rotate', 'envelope.encrypt', 'keys.create', 'access.create-token'];
  expect(records?.['items']).toMatchObject(actions.map((action) => ({ action })));
});

/** Guarantees one try of a wrong PIN, however often it is started, until its file changes. */
test('tries a wrong PIN once', { timeout: 60_000 }, async () => {
  const directory = await dataDirectory();
  const pinFile = join(directory, 'hsm', 'pin');
  const pin = await readFile(pinFile, 'utf8');
  await writeFile(pinFile, 'wrong-pin-of-somebody\n');
  const first = await refusedStart(directory);
  expect(first).toContain('stathera: The token refused the PIN');
  expect(logins(first)).toBe(1);
  for (let again = 0; again < 2; again += 1) {
    const later = await refusedStart(directory);
    expect(later).toContain('will not be tried again');
    expect(logins(later)).toBe(0);
  }
  const doctor = await runMain(['doctor'], { STATHERA_DATA_DIR: directory }, { allowFailure: true });
  expect(doctor.code).toBe(1);
  expect(doctor.stdout).toMatch(/^FAILED .*will not be tried again/m);
  expect(first + doctor.stdout).not.toContain('wrong-pin-of-somebody');
  // It spent no try either: the same refusal is still the last word.
  expect(logins(await refusedStart(directory))).toBe(0);
  await writeFile(pinFile, pin);
  const service = await start(directory);
  await makeKey(service, 'works-again');
});

/** Guarantees that what is missing of the token is named, and that nothing is lost when it comes back. */
test('names a missing module and a missing token', { timeout: 60_000 }, async () => {
  const directory = await dataDirectory();
  const module = await refusedStart(directory, { STATHERA_PKCS11_MODULE: '/nowhere/module-of-theirs.so' });
  expect(module).toMatch(/^stathera: .*STATHERA_PKCS11_MODULE/m);
  expect(module).not.toContain('module-of-theirs');
  const tokens = join(directory, 'hsm', 'tokens');
  await rename(tokens, `${tokens}.away`);
  expect(await refusedStart(directory)).toMatch(/^stathera: .*token/im);
  await rename(`${tokens}.away`, tokens);
  const label = await refusedStart(directory, { STATHERA_PKCS11_TOKEN_LABEL: 'label-of-theirs' });
  expect(label).toMatch(/^stathera: .*STATHERA_PKCS11_TOKEN_LABEL/m);
  expect(label).not.toContain('label-of-theirs');
  await makeKey(await start(directory), 'works');
});

/** Guarantees that SIGTERM lets a request in progress finish, holds nothing open for idle clients, and exits 0. */
test('drains on SIGTERM', async () => {
  const service = await start(await dataDirectory());
  const { hostname, port } = new URL(service.url);
  const idle = connect(Number(port), hostname);
  const busy = connect(Number(port), hostname);
  await Promise.all([once(idle, 'connect'), once(busy, 'connect')]);
  let received = '';
  busy.on('data', (chunk) => {
    received += chunk.toString();
  });
  busy.write(
    `POST /v1/random HTTP/1.1\r\nHost: x\r\nX-Request-Id: last-one\r\nAuthorization: Bearer ${service.token}\r\n` +
      'Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{"byt',
  );
  await delay(150);
  const begun = performance.now();
  const stopped = service.stop();
  await vi.waitFor(() => expect(fetch(service.url)).rejects.toThrow(), 10_000);
  busy.write('es":4}');
  expect(await stopped).toBe(0);
  // The idle client would hold it for the 15 seconds that requests may take.
  expect(performance.now() - begun).toBeLessThan(14_000);
  expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*connection: close\r\n[^]*"bytes":"/i);
  const records = await recordsOnDisk(service.dataDir);
  expect(records.filter(({ requestId }) => requestId === 'last-one')).toHaveLength(1);
  idle.destroy();
});

/** Guarantees that nothing listens in clear where others could reach it. */
test('refuses a listener in clear that is not loopback', { timeout: 60_000 }, async () => {
  const directory = await dataDirectory();
  for (const listen of ['0.0.0.0:0', '[::]:0', '192.0.2.1:0']) {
    const words = await refusedStart(directory, { STATHERA_LISTEN: listen });
    expect(words).toMatch(/^stathera: .*refusing to listen on .* without TLS/m);
  }
});

/** Makes a certificate for 127.0.0.1. */
function certificate(directory: string): { certFile: string; keyFile: string } {
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=stathera.test', '-addext', 'subjectAltName=IP:127.0.0.1'],
      ...['-keyout', keyFile, '-out', certFile],
    ],
    { stdio: 'ignore' },
  );
  return { certFile, keyFile };
}

/** Guarantees TLS 1.3 from end to end with a certificate of openssl: for clients, for the command line, not in clear. */
test('speaks TLS', { timeout: 60_000 }, async ({ skip }) => {
  skip(spawnSync('openssl', ['version']).status !== 0, 'needs openssl');
  const directory = await dataDirectory();
  const { certFile, keyFile } = certificate(directory);
  const tls = { STATHERA_TLS_CERT_FILE: certFile, STATHERA_TLS_KEY_FILE: keyFile };
  const service = await start(directory, tls);
  expect(service.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  const ca = await readFile(certFile);
  const { port } = new URL(service.url);
  const status = await new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${service.token}` };
    secureRequest(`${service.url}/v1/keys`, { ca, headers, agent: false }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    })
      .on('error', reject)
      .end();
  });
  expect(status).toBe(200);
  const socket = secureConnect({ host: '127.0.0.1', port: Number(port), ca });
  await once(socket, 'secureConnect');
  expect(socket.getProtocol()).toBe('TLSv1.3');
  socket.destroy();
  const old = secureConnect({ host: '127.0.0.1', port: Number(port), ca, maxVersion: 'TLSv1.2' });
  await expect(once(old, 'secureConnect')).rejects.toThrow();
  await expect(fetch(service.url.replace('https:', 'http:'))).rejects.toThrow();
  const client = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(directory, 'bootstrap-token') };
  const trusted = await runMain(['keys', 'create', 'by-tls'], { ...client, NODE_EXTRA_CA_CERTS: certFile });
  expect(trusted.code).toBe(0);
  const distrusting = await runMain(['keys', 'list'], client, { allowFailure: true });
  expect(distrusting.code).toBe(1);
  expect(await service.stop()).toBe(0);
  // What cannot be used is refused by its name.
  const absent = { ...tls, STATHERA_TLS_CERT_FILE: join(directory, 'absent.pem') };
  expect(await refusedStart(directory, absent)).toContain('STATHERA_TLS_CERT_FILE');
  const mixed = { STATHERA_TLS_CERT_FILE: keyFile, STATHERA_TLS_KEY_FILE: certFile };
  expect(await refusedStart(directory, mixed)).toContain('STATHERA_TLS_CERT_FILE');
});
