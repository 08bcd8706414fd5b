import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { listen } from '../../src/http/listen.ts';
import { authorized, raw, startDemo, statuses } from './demo.ts';

let folder: string;
let tls: { certFile: string; keyFile: string };

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'stathera-tls-'));
  tls = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') };
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', tls.keyFile];
  execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, '-out', tls.certFile, ...subject], {
    stdio: 'ignore',
  });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Session {
  readonly received: string;
  readonly protocol: string | null;
  readonly group: string | undefined;
}

/** Asks for the list over TLS. Rejects when the handshake fails. */
function ask(port: number, options: ConnectionOptions): Promise<Session> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({
      port,
      host: '127.0.0.1',
      ca: readFileSync(tls.certFile),
      ...options,
    });
    let received = '';
    let protocol: string | null = null;
    let group: string | undefined;
    socket.on('secureConnect', () => {
      protocol = socket.getProtocol();
      const info = socket.getEphemeralKeyInfo();
      group = info !== null && 'name' in info ? info.name : undefined;
      socket.write(`GET /v1/demo HTTP/1.1\r\n${authorized}Connection: close\r\n\r\n`);
    });
    socket.setEncoding('utf8').on('data', (text: string) => {
      received += text;
    });
    socket.on('error', reject).on('close', () => resolve({ received, protocol, group }));
  });
}

/** Guarantees TLS 1.3 with the post-quantum hybrid group for clients that have it. */
test('agrees on X25519MLKEM768', async () => {
  const { url, port } = await startDemo({ listen: { tls } });
  expect(url).toBe(`https://127.0.0.1:${port}`);
  const session = await ask(port, {});
  expect([session.protocol, session.group]).toEqual(['TLSv1.3', 'X25519MLKEM768']);
  expect(statuses(session.received)).toEqual([200]);
  expect((await ask(port, { ecdhCurve: 'X25519:X25519MLKEM768' })).group).toBeDefined();
});

/** Guarantees that a client without the hybrid group is served with X25519, and one with neither is refused. */
test('falls back to X25519 and no further', async () => {
  const { port, metrics } = await startDemo({ listen: { tls } });
  const session = await ask(port, { ecdhCurve: 'X25519' });
  expect([session.protocol, session.group]).toEqual(['TLSv1.3', 'X25519']);
  expect(statuses(session.received)).toEqual([200]);
  await expect(ask(port, { ecdhCurve: 'P-256:P-384' })).rejects.toThrow(/handshake failure/i);
  expect(metrics.text()).toContain('stathera_tls_failed_handshakes_total 1');
});

/** Guarantees that TLS 1.2 and before, and clear text, are refused on a TLS port. */
test('refuses older versions', async () => {
  const { port } = await startDemo({ listen: { tls } });
  await expect(ask(port, { maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version/i);
  await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow();
});

/** Guarantees that with TLS any address may be listened on, and that its requests still know their source. */
test('listens beyond loopback with TLS', async () => {
  const { port } = await startDemo({ listen: { tls, host: '0.0.0.0' } });
  const received = await new Promise<string>((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', ca: readFileSync(tls.certFile) }, () => {
      const head = `POST /v1/demo/k/seal HTTP/1.1\r\n${authorized}Content-Type: application/json\r\nConnection: close\r\n`;
      socket.write(`${head}Content-Length: 20\r\n\r\n{"plaintext":"AAEC"}`);
    });
    let text = '';
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    socket.on('error', reject).on('close', () => resolve(text));
  });
  expect(received).toContain('"source":"127.0.0.1"');
});

/** Guarantees that a handshake that never comes is given up. */
test('bounds handshakes', async () => {
  const { port, metrics } = await startDemo({ listen: { tls, limits: { handshakeTimeoutMs: 150 } } });
  expect(await raw(port, [''])).toBe('');
  expect(metrics.text()).toContain('stathera_tls_failed_handshakes_total 1');
});

/** Guarantees that closing does not wait for a handshake. */
test('closes during a handshake', async () => {
  const { listener, port, metrics } = await startDemo({ listen: { tls } });
  const held = raw(port, ['']);
  await vi.waitFor(() => expect(metrics.text()).toContain('stathera_http_connections 1\n'), 20_000);
  const started = performance.now();
  await listener.close(60_000);
  expect(performance.now() - started).toBeLessThan(5_000);
  await held;
});

/** Guarantees that a key or certificate that cannot be used stops the start, without quoting them. */
test('refuses useless certificates', async () => {
  const { app } = await startDemo();
  const wrong = join(folder, 'wrong.pem');
  writeFileSync(wrong, 'PLANTED5ecret');
  for (const files of [
    { ...tls, keyFile: wrong },
    { ...tls, certFile: wrong },
    { ...tls, keyFile: join(folder, 'absent') },
  ]) {
    const attempt = listen(app, { host: '127.0.0.1', port: 0, allowCleartext: false, tls: files });
    await expect(attempt).rejects.toThrow();
    await attempt.catch((error: Error) => expect(error.message).not.toContain('PLANTED5ecret'));
  }
});
