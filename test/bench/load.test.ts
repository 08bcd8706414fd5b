import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { signature } from '../../bench/load/sigv4.ts';
import { childEnvironment, projectRoot } from '../support/data.ts';
import { startTestService } from '../support/service.ts';
import { committedCases } from '../support/vectors.ts';

interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function load(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Finished> {
  const child = spawn(process.execPath, [join(projectRoot, 'bench/load/main.ts'), ...args], {
    env: childEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close') as Promise<[number | null]>;
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await closed;
  return { code, stdout, stderr };
}

const short = ['--connections', '3', '--seconds', '1', '--bytes', '32'];

/** What the last line says. */
function measured({ stdout }: Finished) {
  const last = stdout.trimEnd().split('\n').at(-1) ?? '';
  return JSON.parse(last) as { operations: number; p50Ms: number; errors: Record<string, number> };
}

type Answer = (request: IncomingMessage, body: string, response: ServerResponse) => void;

/** A server of the test's own. @returns its URL, and how often it was asked */
async function serve(answer: Answer): Promise<{ url: string; asked: () => number }> {
  let asked = 0;
  const server = createServer((request, response) => {
    asked += 1;
    void text(request).then((body) => answer(request, body, response));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => asked };
}

/** Guarantees that the load command encrypts and decrypts with the service and counts what succeeded. */
test.each([
  ['encrypt', 'encrypt'],
  ['decrypt', 'decryptWithKey'],
])('drives the service: %s', async (operation, operationId) => {
  const service = await startTestService();
  onTestFinished(() => service.dispose());
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const args = ['--url', service.url, '--style', 'stathera', '--key', 'bench', '--operation', operation];
  const run = await load([...args, ...short], {
    STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token'),
  });
  expect(run.stderr).toBe('');
  expect(run.code).toBe(0);
  const result = measured(run);
  expect(result.errors).toEqual({});
  expect(result.p50Ms).toBeGreaterThan(0);
  const { text: metrics } = await service.call('GET', '/metrics');
  const pattern = new RegExp(`requests_total\\{operation="${operationId}",status="2xx"\\} (\\d+)`);
  expect(result.operations).toBeGreaterThan(0);
  expect(Number(pattern.exec(metrics)?.[1])).toBeGreaterThanOrEqual(result.operations);
});

/** Guarantees that a Vault-style server gets what its transit engine takes, and that failures are told apart from answers. */
test('drives a transit engine that answers in chunks, fails and closes connections', async () => {
  let count = 0;
  const server = await serve((request, body, response) => {
    count += 1;
    expect(request.headers['x-vault-token']).toBe('s.a-token');
    if (request.url === '/v1/transit/encrypt/orders') {
      expect(Buffer.from((JSON.parse(body) as { plaintext: string }).plaintext, 'base64')).toHaveLength(32);
    } else {
      expect(request.url).toBe('/v1/transit/decrypt/orders');
      expect(JSON.parse(body)).toEqual({ ciphertext: 'vault:v1:AAAA' });
    }
    response.statusCode = count % 3 === 0 ? 429 : 200;
    if (count % 50 === 0) response.setHeader('Connection', 'close');
    response.write('{"data":');
    setImmediate(() => response.end('{"ciphertext":"vault:v1:AAAA"}}'));
  });
  const args = ['--url', server.url, '--style', 'vault', '--key', 'orders', '--operation', 'decrypt'];
  const run = await load([...args, ...short], { VAULT_TOKEN: 's.a-token' });
  expect(run.stderr).toBe('');
  expect(run.code).toBe(1);
  const { operations, errors } = measured(run);
  expect(Object.keys(errors)).toEqual(['429']);
  expect(operations + (errors['429'] ?? 0)).toBeLessThanOrEqual(server.asked());
  expect(Math.abs(operations - 2 * (errors['429'] ?? 0))).toBeLessThanOrEqual(2);
  expect(`${run.stdout}${run.stderr}`).not.toContain('s.a-token');
});

/** Guarantees that an AWS-style server gets signed requests that name the operation. */
test('drives a server of the AWS kind', async () => {
  const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'a-secret-access-key' };
  const server = await serve((request, body, response) => {
    const names = /SignedHeaders=([^,]+)/.exec(request.headers.authorization ?? '')?.[1]?.split(';') ?? [];
    expect(names).toEqual(['content-type', 'host', 'x-amz-date', 'x-amz-target']);
    expect(request.headers['x-amz-target']).toBe('TrentService.Encrypt');
    const headers = Object.fromEntries(names.map((name) => [name, String(request.headers[name])]));
    const expected = signature({ headers, body, region: 'eu-west-1', service: 'kms' }, credentials);
    expect(request.headers.authorization).toBe(expected);
    expect(JSON.parse(body)).toEqual({ KeyId: 'alias/orders', Plaintext: expect.any(String) as string });
    response.end('{"CiphertextBlob":"AAAA"}');
  });
  const args = ['--url', server.url, '--style', 'aws', '--key', 'alias/orders', '--region', 'eu-west-1'];
  const run = await load([...args, ...short], {
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
  });
  expect(run.stderr).toBe('');
  expect(run.code).toBe(0);
  expect(measured(run).operations).toBeGreaterThan(0);
  expect(run.stdout).not.toContain(credentials.secretAccessKey);
});

interface SignedCase {
  readonly source: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly authorization: string;
}

/** Guarantees that requests are signed as AWS Signature Version 4 wants. */
test.each(committedCases<SignedCase>('aws-sigv4'))('signs: $source', ({ headers, body, authorization }) => {
  const credentials = {
    accessKeyId: 'AKIDEXAMPLE',
    secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  };
  const post = { headers, body, region: 'us-east-1', service: 'service' };
  expect(signature(post, credentials)).toBe(authorization);
});

/** Guarantees that wrong options are refused by name before anything is sent, without what a secret might hold. */
test('refuses options by name', async () => {
  const server = await serve((_request, _body, response) => void response.end());
  const refusals: (readonly [readonly string[], RegExp])[] = [
    [[], /--url is needed/],
    [['--url', 'ftp://127.0.0.1'], /--url must be http/],
    [['--url', server.url.replace('//', '//user:secret@')], /--url must be http/],
    [['--url', server.url, '--style', 'other'], /--style must be/],
    [['--url', server.url, '--style', 'vault', '--key', 'k'], /VAULT_TOKEN is needed/],
    [['--url', server.url, '--style', 'aws', '--key', 'k'], /AWS_ACCESS_KEY_ID/],
    [['--url', server.url, '--style', 'vault', '--key', 'k', '--seconds', '0'], /--seconds must be/],
    [['--token', 'secret'], /--token/],
  ];
  const runs = await Promise.all(refusals.map(([args]) => load(args)));
  for (const [index, { code, stdout, stderr }] of runs.entries()) {
    expect(stderr).toMatch(refusals[index]?.[1] ?? /./);
    expect(stderr).not.toContain('secret');
    expect(stdout).toBe('');
    expect(code).toBe(2);
  }
  expect(server.asked()).toBe(0);
  expect((await load(['--help'])).stdout).toContain('--connections N');
});

/** Guarantees that a server that refuses the first call, or is none, is named with what it said. */
test('tells why it cannot begin', async () => {
  const refusing = await serve(
    (_request, _body, response) => void response.writeHead(403).end('permission denied'),
  );
  const other = await serve((_request, _body, response) => void response.end('<html>'));
  const style = ['--style', 'vault', '--key', 'k'];
  const env = { VAULT_TOKEN: 's.a-token' };
  const run = await load(['--url', refusing.url, ...style], env);
  expect(run.stderr).toContain('answered 403: permission denied');
  expect((await load(['--url', other.url, ...style], env)).stderr).toContain('something else than JSON');
  expect(run.code).toBe(2);
  expect(refusing.asked()).toBe(1);
});
