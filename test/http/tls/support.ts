import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectClear } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect } from 'node:tls';
import { authorized } from '../demo.ts';

export const ids = { X25519MLKEM768: 0x11ec, X25519: 0x001d, 'P-256': 0x0017, grease: 0x3a3a } as const;
export type GroupName = keyof typeof ids;

/** A directory with certificates of openssl in it, and the end of it. */
export function certificates() {
  const folder = mkdtempSync(join(tmpdir(), 'stathera-tls-'));
  return {
    folder,
    issue(name: string, days = 2) {
      const [certFile, keyFile] = [join(folder, `${name}.cert`), join(folder, `${name}.key`)];
      const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
      const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile];
      execFileSync('openssl', ['req', '-x509', '-days', String(days), ...key, '-out', certFile, ...subject], {
        stdio: 'ignore',
      });
      return { certFile, keyFile };
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export interface Answered {
  readonly received: string;
  /** What the client's own TLS says. */
  readonly group: string | undefined;
  readonly resumed: boolean;
  readonly fingerprint: string;
  /** For another connection to resume with. */
  readonly session: Buffer | undefined;
}

/** Asks for the list over TLS with node's client. Rejects when the handshake fails. */
export function ask(port: number, options: ConnectionOptions = {}): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
    let answered: Omit<Answered, 'received' | 'session'> | undefined;
    let received = '';
    let session: Buffer | undefined;
    socket.on('session', (ticket) => {
      session = ticket;
    });
    socket.on('secureConnect', () => {
      const info = socket.getEphemeralKeyInfo();
      answered = {
        group: info !== null && 'name' in info ? info.name : undefined,
        resumed: socket.isSessionReused(),
        fingerprint: socket.getPeerCertificate().fingerprint256,
      };
      socket.write(`GET /v1/demo HTTP/1.1\r\n${authorized}Connection: close\r\n\r\n`);
    });
    socket.setEncoding('utf8').on('data', (text: string) => {
      received += text;
    });
    socket.on('error', reject).on('close', () => {
      if (answered === undefined) reject(new Error('closed before the handshake was complete'));
      else resolve({ ...answered, received, session });
    });
  });
}

/** The value of a series as the metrics have it; 0 for one that is not there. */
export function valueOf(text: string, series: string): number {
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}

const vector = (lengthBytes: number, ...parts: readonly Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts);
  const length = Buffer.alloc(lengthBytes);
  length.writeUIntBE(content.length, 0, lengthBytes);
  return Buffer.concat([length, content]);
};
const number = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
const extension = (type: number, ...parts: readonly Uint8Array[]): Buffer =>
  Buffer.concat([number(type), vector(2, ...parts)]);

const xKey = generateKeyPairSync('x25519').publicKey.export({ format: 'raw-public' });
const mlKemKey = generateKeyPairSync('ml-kem-768').publicKey.export({ format: 'raw-public' });
const pKey = Buffer.from(
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'der', type: 'spki' }),
).subarray(-65);
const shareOf: Readonly<Record<GroupName, Buffer>> = {
  X25519MLKEM768: Buffer.concat([mlKemKey, xKey]),
  X25519: xKey,
  'P-256': pKey,
  grease: Buffer.from([0]),
};

/** A ClientHello message of TLS 1.3 that OpenSSL accepts (RFC 8446 §4.1.2), without its record. */
export function helloOf(groups: readonly GroupName[], shares: readonly GroupName[]): Buffer {
  const offered = shares.map((name) => Buffer.concat([number(ids[name]), vector(2, shareOf[name])]));
  const extensions = [
    extension(43, vector(1, number(0x0304))),
    extension(13, vector(2, number(0x0403), number(0x0804))),
    extension(10, vector(2, ...groups.map((name) => number(ids[name])))),
    extension(51, vector(2, ...offered)),
  ];
  const body = [
    number(0x0303),
    randomBytes(32),
    vector(1),
    vector(2, number(0x1301)),
    vector(1, Buffer.alloc(1)),
  ];
  return Buffer.concat([Buffer.from([1]), vector(3, ...body, vector(2, ...extensions))]);
}

/** Puts a handshake message into records of at most so many bytes each. */
export function recordsOf(message: Uint8Array, bytesEach = 16_384): Buffer {
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += bytesEach) {
    records.push(Buffer.from([22, 3, 1]), vector(2, message.subarray(at, at + bytesEach)));
  }
  return Buffer.concat(records);
}

/** SHA-256 of "HelloRetryRequest": the random of a ServerHello that is one (RFC 8446 §4.1.3). */
const retryRandom = 'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c';

/** Sends a ClientHello and reads the group in what the server's OpenSSL answers; undefined when it refuses. */
export function groupOnWire(
  port: number,
  hello: Buffer,
): Promise<{ group: number; retry: boolean } | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connectClear(port, '127.0.0.1', () => socket.write(hello));
    let received = Buffer.alloc(0);
    socket.on('error', reject).on('close', () => resolve(undefined));
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 5 || received.length < 5 + received.readUInt16BE(3)) return;
      const message = received.subarray(5, 5 + received.readUInt16BE(3));
      resolve(received[0] === 22 && message[0] === 2 ? readServerHello(message) : undefined);
      socket.destroy();
    });
  });
}

function readServerHello(message: Buffer): { group: number; retry: boolean } {
  const retry = message.subarray(6, 38).toString('hex') === retryRandom;
  let at = 38 + 1 + (message[38] ?? 0) + 2 + 1 + 2;
  while (message.readUInt16BE(at) !== 51) at += 4 + message.readUInt16BE(at + 2);
  return { group: message.readUInt16BE(at + 4), retry };
}

export const read = (file: string): Buffer => readFileSync(file);
