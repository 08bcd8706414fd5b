import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeKey, plaintext, seal } from '../access/support.ts';
import { freshDataDir, removeDirectory, runMain } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const soakMs = nightly ? 600_000 : 6_000;
const sampleMs = soakMs / 60;
const maxConnections = 200;
/** Fewer than keys: they are unwrapped and destroyed all the time. */
const handleLimit = 16;
const clients = 24;

let dataDir: string;
let service: TestService;
const keys = Array.from({ length: 50 }, (_, index) => `key-${index}`);
const sealed: string[] = [];
beforeAll(async () => {
  dataDir = await freshDataDir();
  service = await startTestService({
    dataDir,
    env: { STATHERA_MAX_CONNECTIONS: String(maxConnections), STATHERA_HSM_HANDLES: String(handleLimit) },
  });
  for (const key of keys) await makeKey(service, key);
  for (const key of keys) sealed.push(await seal(service, key));
});
afterAll(async () => {
  await service?.kill();
  await removeDirectory(dataDir);
});

const statuses = new Map<string, number>();

function count(what: string): void {
  statuses.set(what, (statuses.get(what) ?? 0) + 1);
}

async function answered(what: string, method: string, path: string, body?: unknown, token?: null) {
  const { status, body: members } = await service.call(method, path, body, token === null ? { token } : {});
  count(`${what} ${status}${status >= 500 ? ` ${String(members['code'])}` : ''}`);
}

/** Opens a connection, lets `work` misuse it, and is done when it is gone on this side. */
async function over(work: (socket: Socket) => void): Promise<void> {
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
  socket.on('error', () => {}).resume();
  const gone = new Promise((resolve) => socket.once('close', resolve));
  await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
  work(socket);
  await gone;
}

/** A request of a known caller up to the end of its header fields. */
function head(path: string, fields: string): string {
  return `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.token}\r\n${fields}\r\n`;
}

const json = 'Content-Type: application/json\r\n';

/** What clients do: with what they should, with what they should not, and without an end. */
const acts: Record<string, (choice: number) => Promise<void>> = {
  encrypt: (choice) =>
    answered('encrypt', 'POST', `/v1/keys/${keys[choice % keys.length]}/encrypt`, { plaintext }),
  decrypt: (choice) =>
    answered('decrypt', 'POST', '/v1/decrypt', { ciphertext: sealed[choice % sealed.length] }),
  dataKeys: (choice) =>
    answered('data keys', 'POST', `/v1/keys/${keys[choice % keys.length]}/data-keys`, {
      count: 10,
      plaintext: true,
    }),
  largeBatch: () =>
    answered('batch', 'POST', '/v1/batch', {
      operations: sealed.flatMap((ciphertext) => [
        { operation: 'decrypt', ciphertext },
        { operation: 'random', bytes: 4_096 },
      ]),
    }),
  list: () => answered('list', 'GET', '/v1/keys?limit=50'),
  records: () => answered('records', 'GET', '/v1/audit/records?limit=50'),
  stranger: () => answered('stranger', 'GET', '/v1/keys', undefined, null),
  invalid: (choice) =>
    answered('invalid', 'POST', `/v1/keys/${keys[choice % keys.length]}/encrypt`, { no: 'thing' }),
  notJson: () => answered('not JSON', 'POST', '/v1/decrypt', '{"ciphertext":'),
  forged: (choice) => {
    const bytes = Buffer.from(sealed[choice % sealed.length] ?? '', 'base64');
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    return answered('forged', 'POST', '/v1/decrypt', { ciphertext: bytes.toString('base64') });
  },
  garbage: () => over((socket) => socket.write('garbage\r\n\r\n')),
  closing: () =>
    over((socket) =>
      socket.write(head('/v1/random', `${json}Content-Length: 11\r\nConnection: close\r\n`) + '{"bytes":8}'),
    ),
  cutShort: () =>
    over((socket) => socket.end(head('/v1/decrypt', `${json}Content-Length: 1000\r\n`) + '{"ciphertext":"')),
  reset: () =>
    over((socket) =>
      socket.write(head('/v1/decrypt', `${json}Transfer-Encoding: chunked\r\n`) + '5\r\n{"cip', () =>
        socket.resetAndDestroy(),
      ),
    ),
  leaves: () =>
    over((socket) =>
      socket.write(head('/v1/random', `${json}Content-Length: 15\r\n`) + '{"bytes":50000}', () =>
        socket.destroy(),
      ),
    ),
  tooLarge: () =>
    over((socket) =>
      socket.write(head('/v1/decrypt', `${json}Content-Length: 3000000\r\n`) + 'x'.repeat(100_000)),
    ),
  silent: (choice) => over((socket) => setTimeout(() => socket.destroy(), choice % 300)),
};

interface Sample {
  readonly files: number;
  readonly residentBytes: number;
  readonly connections: number;
  readonly handles: number;
}

async function measured(): Promise<(name: string) => number> {
  const { text } = await service.call('GET', '/metrics');
  return (name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

const openFiles = () => readdirSync(`/proc/${service.pid}/fd`).length;

/** Open files that are not connections. */
const ownFiles = async () => openFiles() - (await measured())('stathera_http_connections');

async function sample(): Promise<Sample> {
  const value = await measured();
  const pages = Number(readFileSync(`/proc/${service.pid}/statm`, 'utf8').split(' ')[1]);
  return {
    files: openFiles(),
    residentBytes: pages * 4096,
    connections: value('stathera_http_connections'),
    handles: value('stathera_hsm_handles'),
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** Lets clients act until the time is up. @returns samples at even intervals */
async function soak(): Promise<Sample[]> {
  const end = performance.now() + soakMs;
  const names = fc.sample(fc.constantFrom(...Object.keys(acts)), 2_000);
  let turn = 0;
  const running = Array.from({ length: clients }, async () => {
    while (performance.now() < end) {
      turn += 1;
      await acts[names[turn % names.length] ?? '']?.(turn);
    }
  });
  const samples: Sample[] = [];
  while (performance.now() < end) {
    samples.push(await sample());
    await delay(sampleMs);
  }
  await Promise.all(running);
  return samples;
}

/** Guarantees that open files, connections, handles and memory stay bounded, and that nothing is kept of what is over. */
test(`${soakMs / 1000} s of everything`, { timeout: 2 * soakMs + 60_000 }, async () => {
  for (const act of Object.values(acts)) await act(1);
  const idle = await ownFiles();
  statuses.clear();
  const samples = await soak();
  const third = Math.floor(samples.length / 3);
  const resident = samples.map(({ residentBytes }) => residentBytes);
  const [middle, last] = [median(resident.slice(third, 2 * third)), median(resident.slice(2 * third))];
  process.stdout.write(
    `soak: ${[...statuses.values()].reduce((sum, each) => sum + each, 0)} answers, resident ${resident
      .filter((_, index) => index % Math.ceil(samples.length / 12) === 0)
      .map((bytes) => Math.round(bytes / 1e6))
      .join(' ')} MB\n`,
  );
  // A disk that is busy with others for too long stalls the log, which then refuses: no other refusal is in order.
  const [refusals, answers] = [true, false].map((refused) =>
    [...statuses.keys()].filter((key) => key.includes(' 503 ') === refused).toSorted(),
  );
  expect(answers).toEqual([
    ...['batch 200', 'data keys 200', 'decrypt 200', 'encrypt 200', 'forged 400', 'invalid 400', 'list 200'],
    ...['not JSON 400', 'records 200', 'stranger 401'],
  ]);
  expect(refusals?.filter((key) => !key.endsWith(' audit/unavailable'))).toEqual([]);
  const events = service.stderr().match(/^.*"level":[56]0.*$/gm) ?? [];
  expect(events.filter((line) => !/"msg":"request"|"reason":"stalled"/.test(line))).toEqual([]);
  for (const { files, connections, handles } of samples) {
    // One of its own and one of the pool for each client, and those being closed.
    expect(files).toBeLessThanOrEqual(idle + 3 * clients);
    expect(connections).toBeLessThanOrEqual(3 * clients);
    expect(handles).toBeLessThanOrEqual(handleLimit);
  }
  // In seconds the heap still finds its size; in minutes it has.
  expect(last).toBeLessThan(middle * (nightly ? 1.1 : 1.5) + 20e6);
  await expect.poll(ownFiles, { timeout: 20_000 }).toBeLessThanOrEqual(idle);
  const value = await measured();
  expect([value('stathera_http_requests_in_flight'), value('stathera_hsm_queued')]).toEqual([0, 0]);
  expect(value('stathera_audit_queued')).toBeLessThanOrEqual(1);
  expect(await service.stop()).toBe(0);
  const verified = await runMain(['audit', 'verify', '--with-token'], { STATHERA_DATA_DIR: dataDir });
  expect(verified.code).toBe(0);
});
