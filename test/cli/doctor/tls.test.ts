import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { connect, createServer as createTlsServer } from 'node:tls';
import { expect, onTestFinished, test, vi } from 'vitest';
import { checkHandshake } from '../../../src/cli/doctor/handshake.ts';
import { checkListener } from '../../../src/cli/doctor/listener.ts';
import { checkProcess } from '../../../src/cli/doctor/machine.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { startTestService } from '../../support/service.ts';
import {
  configOf,
  directoryOfTest,
  emptyDirectoryOfTest,
  examine,
  type Findings,
  findingsOf,
} from './support.ts';

// In CI a missing program is a failure, not a reason to skip.
const missing = spawnSync('openssl', ['version']).error !== undefined && process.env['CI'] !== 'true';
if (missing) process.stdout.write('skipped: certificates that doctor looks at, for want of openssl\n');

// A type, not an interface: what takes settings takes it.
type Pair = Readonly<Record<'STATHERA_TLS_CERT_FILE' | 'STATHERA_TLS_KEY_FILE', string>>;

async function issue(days: number, names: string | undefined = 'DNS:localhost,IP:127.0.0.1'): Promise<Pair> {
  const folder = await emptyDirectoryOfTest();
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile];
  const named = names === '' ? [] : ['-addext', `subjectAltName=${names}`];
  const args = ['req', '-x509', '-days', String(days), ...key, '-out', certFile, '-subj', '/CN=localhost'];
  execFileSync('openssl', [...args, ...named], { stdio: 'ignore' });
  return { STATHERA_TLS_CERT_FILE: certFile, STATHERA_TLS_KEY_FILE: keyFile };
}

/** What is said of a listener, when the clock shows so many days from now. */
function listenerWith(env: Readonly<Record<string, string>>, days = 0): Findings {
  const clock = { ...systemClock, now: () => Date.now() + days * 24 * 60 * 60 * 1000 };
  return findingsOf(checkListener(configOf('/nowhere', env), clock));
}

/** Guarantees that a certificate is told with its names, and in time before it ends. */
test.skipIf(missing)('watches the certificate', async () => {
  const pair = await issue(90);
  const good = listenerWith(pair);
  expect(good.states).toEqual({ listener: 'ok', certificate: 'ok' });
  expect(good.text('certificate')).toMatch(/^DNS:localhost, IP Address:127\.0\.0\.1, valid until 2/);
  expect(listenerWith(pair, 59).states['certificate']).toBe('ok');
  const short = listenerWith(pair, 61);
  expect(short.states['certificate']).toBe('warning');
  expect(short.text('certificate')).toMatch(/: 2[89] days left → renew it/);
  const [over, early] = [listenerWith(pair, 91), listenerWith(pair, -1)];
  expect([over.states['certificate'], early.states['certificate']]).toEqual(['failed', 'failed']);
  expect(over.text('certificate')).toMatch(/^expired on/);
  expect(early.text('certificate')).toMatch(/^not valid before/);
  expect(listenerWith(await issue(90, '')).text('certificate')).toContain('it names no host');
});

/** Guarantees that files the service could not start with are told apart, without a word of what they hold. */
test.skipIf(missing)('tells what is wrong with the files', async () => {
  const [one, two] = [await issue(90), await issue(90)];
  const other = listenerWith({ ...one, STATHERA_TLS_KEY_FILE: two.STATHERA_TLS_KEY_FILE });
  expect(other.text('certificate')).toContain('is not the key of');
  copyFileSync(one.STATHERA_TLS_CERT_FILE, one.STATHERA_TLS_KEY_FILE);
  expect(listenerWith(one).text('certificate')).toContain('holds no private key');
  writeFileSync(two.STATHERA_TLS_CERT_FILE, 'nothing of the kind');
  expect(listenerWith(two).text('certificate')).toContain('holds no certificate');
  const gone = listenerWith({ ...one, STATHERA_TLS_KEY_FILE: '/nowhere' });
  for (const { states } of [other, listenerWith(one), listenerWith(two), gone]) {
    expect(states['certificate']).toBe('failed');
  }
});

/** Guarantees that a running service is found over TLS too, whatever its certificate calls it, with its files and keys. */
test.skipIf(missing)('asks over TLS', async () => {
  const [pair, renewed] = [await issue(90, 'DNS:kms.example'), await issue(90)];
  const env = { ...pair, STATHERA_TLS_CLASSICAL_CLIENTS: 'refused', STATHERA_PROCESSES: '2' };
  const service = await startTestService({ dataDir: await directoryOfTest(), env });
  try {
    const { port } = new URL(service.url);
    const found = await examine(service.dataDir, { ...env, STATHERA_LISTEN: `0.0.0.0:${port}` });
    expect(found.text('service')).toBe(`ready at https://127.0.0.1:${port}`);
    expect(found).toMatchObject({ code: 0, states: { certificate: 'ok', permissions: 'ok' } });
    expect([found.states['handshake'], found.text('handshake')]).toEqual([
      'ok',
      'X25519MLKEM768; clients without it are refused',
    ]);
    await expect(certificateAt(Number(port), 'X25519')).rejects.toThrow(/handshake failure/i);
    for (const file of ['STATHERA_TLS_CERT_FILE', 'STATHERA_TLS_KEY_FILE'] as const) {
      copyFileSync(renewed[file], pair[file]);
    }
    const { raw } = new X509Certificate(readFileSync(renewed.STATHERA_TLS_CERT_FILE));
    await vi.waitFor(async () => expect(await certificateAt(Number(port))).toEqual(raw), {
      timeout: 60_000,
      interval: 100,
    });
  } finally {
    await service.kill();
  }
});

/** The certificate that a new connection is shown. */
function certificateAt(port: number, ecdhCurve = 'X25519MLKEM768'): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ecdhCurve });
    socket.on('error', reject).on('secureConnect', () => {
      resolve(socket.getPeerX509Certificate()?.raw);
      socket.destroy();
    });
  });
}

/** What is said of the handshake where this server listens. */
async function handshakeWith(
  server: Server,
  env: Pair & Readonly<Record<string, string>>,
): Promise<Findings> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return findingsOf(
    await checkHandshake(configOf('/nowhere', { ...env, STATHERA_LISTEN: `127.0.0.1:${port}` })),
  );
}

/** Guarantees that a group without post-quantum, another certificate than the file's, and no TLS at all are told apart. */
test.skipIf(missing)('shakes hands', async () => {
  const [served, renewed] = [await issue(90), await issue(90)];
  const files = {
    cert: readFileSync(served.STATHERA_TLS_CERT_FILE),
    key: readFileSync(served.STATHERA_TLS_KEY_FILE),
  };
  const refused = { ...served, STATHERA_TLS_CLASSICAL_CLIENTS: 'refused' };
  const good = await handshakeWith(createTlsServer(files), refused);
  expect(good.states).toEqual({ handshake: 'ok' });
  expect(good.text('handshake')).toBe('X25519MLKEM768; clients without it are refused');
  const classical = await handshakeWith(createTlsServer({ ...files, ecdhCurve: 'X25519' }), served);
  expect(classical.states).toEqual({ handshake: 'warning' });
  expect(classical.text('handshake')).toContain('keys come from X25519, which');
  const other = await handshakeWith(createTlsServer(files), renewed);
  expect(other.states).toEqual({ handshake: 'warning' });
  expect(other.text('handshake')).toMatch(/another certificate .* → look for tls\.reload-refused/);
  const clear = await handshakeWith(
    createServer((socket) => socket.end('hello')),
    served,
  );
  expect(clear.states).toEqual({ handshake: 'unchecked' });
  expect(await checkHandshake(configOf('/nowhere'))).toEqual([]);
  expect(findingsOf(await checkHandshake(configOf('/nowhere', served))).states).toEqual({
    handshake: 'unchecked',
  });
});

/** Guarantees that a listener that others reach in clear is refused as serve does, or told where that is allowed. */
test('does not pass over a listener in clear', () => {
  expect(listenerWith({ STATHERA_LISTEN: '0.0.0.0:0' }).states).toEqual({ listener: 'failed' });
  const allowed = { STATHERA_LISTEN: '0.0.0.0:0', STATHERA_ALLOW_CLEARTEXT: '1' };
  expect(listenerWith(allowed).states).toEqual({ listener: 'warning' });
});

/** Guarantees that too few open files for the configured connections are told. */
test('counts open files', () => {
  const { states, text } = findingsOf(checkProcess({ ...configOf('/nowhere'), maxConnections: 2 ** 40 }));
  expect(states).toEqual({ Node: 'ok', 'ML-KEM': 'ok', 'core dumps': 'ok', 'open files': 'warning' });
  expect(text('open files')).toContain('LimitNOFILE');
});
