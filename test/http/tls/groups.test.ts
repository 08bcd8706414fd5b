import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectClear, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, expect, onTestFinished, test, vi } from 'vitest';
import { createHelloReader } from '../../../src/http/tls/client-hello.ts';
import { agreedGroup, type ClassicalClients, groupsFor } from '../../../src/http/tls/groups.ts';
import { raw, startDemo, statuses } from '../demo.ts';
import {
  ask,
  certificates,
  type GroupName,
  groupOnWire,
  helloOf,
  ids,
  recordsOf,
  valueOf,
} from './support.ts';

const certs = certificates();
afterAll(() => certs.remove());
const files = certs.issue('own');

const start = (classicalClients: ClassicalClients = 'served', limits = {}) =>
  startDemo({ listen: { tls: { ...files, classicalClients }, limits } });
type Demo = Awaited<ReturnType<typeof start>>;

const counted = ({ metrics }: Demo, series: string) => valueOf(metrics.text(), `stathera_tls_${series}`);
const groupsCounted = (demo: Demo) =>
  Object.fromEntries(
    ['X25519MLKEM768', 'X25519', 'unknown'].map((group) => [
      group,
      counted(demo, `connections_total{group="${group}"}`),
    ]),
  );
/** What the log says of each connection. */
const told = ({ logs }: Demo) =>
  logs
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ msg }) => msg === 'TLS connection')
    .map(({ tlsGroup, classical, retried, resumed }) => ({ tlsGroup, classical, retried, resumed }));

// What a client of node offers, in its order: it sends a key for the first alone unless `*` marks others.
const offers = [
  ['X25519MLKEM768', false],
  ['X25519MLKEM768:X25519', false],
  ['X25519:X25519MLKEM768', true],
  ['X25519', false],
  ['P-256:X25519', true],
  ['P-256:X25519MLKEM768', true],
  ['P-256:X25519:X25519MLKEM768', true],
  ['*X25519:*X25519MLKEM768', false],
  ['*X25519MLKEM768:*X25519', false],
  ['P-384:P-521:*X25519', false],
] as const;

/** Guarantees that the group told of each connection is the one that the client's own TLS says. */
test('tells the group that the client has', async () => {
  const demo = await start();
  const groups: (string | undefined)[] = [];
  for (const [ecdhCurve] of offers) {
    const { group, received } = await ask(demo.port, { ecdhCurve });
    expect(statuses(received), ecdhCurve).toEqual([200]);
    groups.push(group);
  }
  groups.push((await ask(demo.port)).group);
  const said = told(demo);
  expect(said.map(({ tlsGroup }) => tlsGroup)).toEqual(groups);
  expect(said.map(({ retried }) => retried)).toEqual([...offers.map(([, retried]) => retried), false]);
  expect(said.map(({ classical }) => classical)).toEqual(
    [...offers.map(([curve]) => curve), 'X25519MLKEM768'].map((curve) => !curve.includes('MLKEM')),
  );
  expect(groupsCounted(demo)).toEqual({ X25519MLKEM768: 8, X25519: 3, unknown: 0 });
  expect(counted(demo, 'hello_retries_total')).toBe(4);
  expect(counted(demo, 'classical_clients_total{outcome="served"}')).toBe(3);
});

/** Guarantees that every request of a caller is logged with the group of its connection, also the later ones. */
test('tells the group of requests', async () => {
  const demo = await start();
  await ask(demo.port);
  await ask(demo.port, { ecdhCurve: 'X25519' });
  const requests = demo.logs
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ msg }) => msg === 'request');
  expect(requests.map(({ tlsGroup }) => tlsGroup)).toEqual(['X25519MLKEM768', 'X25519']);
  const clear = await startDemo();
  await clear.call('/v1/demo');
  expect(clear.logs.join('')).not.toContain('tlsGroup');
  expect(clear.metrics.text()).not.toMatch(/^stathera_tls_(connections|classical|certificate)/m);
});

function* choices<T>(of: readonly T[]): Generator<T[]> {
  for (const each of of) {
    yield [each];
    for (const rest of choices(of.filter((other) => other !== each))) yield [each, ...rest];
  }
}

/**
 * Guarantees that what is derived from a ClientHello is what OpenSSL answers on the wire: for every order of groups,
 * every choice of keys sent, and both configurations; with the HelloRetryRequest where one is said.
 */
test.each(['served', 'refused'] as const)(
  'derives what OpenSSL chooses, classical clients %s',
  async (policy) => {
    const { port } = await start(policy);
    let cases = 0;
    for (const groups of choices<GroupName>(['X25519MLKEM768', 'X25519', 'P-256'])) {
      for (let mask = 0; mask < 2 ** groups.length; mask += 1) {
        const shares = groups.filter((_, index) => (mask >> index) & 1);
        const hello = recordsOf(helloOf(['grease', ...groups], shares));
        const offered = createHelloReader().push(hello);
        if (typeof offered === 'string') throw new Error(offered);
        const group = agreedGroup(groupsFor(policy), offered);
        const expected = group && { group: group.id, retry: !offered.shares.includes(group.id) };
        expect(await groupOnWire(port, hello), `${groups} with keys of ${shares}`).toEqual(expected);
        cases += 1;
      }
    }
    expect(cases).toBe(78);
  },
);

/** Guarantees that a resumed session has a group of its own, from its own hello: tickets keep none. */
test('tells the group of resumed sessions', async () => {
  const demo = await start();
  const first = await ask(demo.port);
  if (first.session === undefined) throw new Error('no ticket');
  const again = await ask(demo.port, { session: first.session });
  const classical = await ask(demo.port, { session: again.session ?? first.session, ecdhCurve: 'X25519' });
  expect([first, again, classical].map(({ group, resumed }) => [group, resumed])).toEqual([
    ['X25519MLKEM768', false],
    ['X25519MLKEM768', true],
    ['X25519', true],
  ]);
  expect(told(demo).map(({ tlsGroup, resumed }) => [tlsGroup, resumed])).toEqual([
    ['X25519MLKEM768', false],
    ['X25519MLKEM768', true],
    ['X25519', true],
  ]);
});

/** Guarantees that refused classical clients get no connection, with a ticket neither, and are counted; others are served. */
test('refuses classical clients', async () => {
  const demo = await start('refused');
  const hybrid = await ask(demo.port);
  expect([hybrid.group, statuses(hybrid.received)]).toEqual(['X25519MLKEM768', [200]]);
  await expect(ask(demo.port, { ecdhCurve: 'X25519' })).rejects.toThrow(/handshake failure/i);
  await expect(ask(demo.port, { ecdhCurve: 'P-256:X25519:P-384' })).rejects.toThrow(/handshake failure/i);
  const { session } = hybrid;
  if (session === undefined) throw new Error('no ticket');
  await expect(ask(demo.port, { ecdhCurve: 'X25519', session })).rejects.toThrow(/handshake failure/i);
  expect(counted(demo, 'classical_clients_total{outcome="refused"}')).toBe(3);
  expect(counted(demo, 'classical_clients_total{outcome="served"}')).toBe(0);
  await vi.waitFor(() => expect(counted(demo, 'failed_handshakes_total')).toBe(3), 20_000);
  expect((await ask(demo.port, { ecdhCurve: 'X25519:X25519MLKEM768' })).group).toBe('X25519MLKEM768');
  expect(groupsCounted(demo)).toEqual({ X25519MLKEM768: 2, X25519: 0, unknown: 0 });
});

/** Guarantees that clients that are served with X25519 alone are not those that have neither group. */
test('counts those without a group in common', async () => {
  const demo = await start();
  await expect(ask(demo.port, { ecdhCurve: 'P-256:P-384' })).rejects.toThrow(/handshake failure/i);
  expect(counted(demo, 'classical_clients_total{outcome="refused"}')).toBe(1);
  expect(demo.logs.join('')).toContain('TLS client has no group of ours');
});

/** Asks with Debian's openssl, which is 3.0 and knows no post-quantum group. */
async function askOpenssl(port: number, groups: string): Promise<{ output: string; code: number }> {
  const args = ['s_client', '-connect', `127.0.0.1:${port}`, '-groups', groups, '-ign_eof'];
  const client = spawn('openssl', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  client.stdin.on('error', () => {});
  client.stdin.end('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  const [out, error, [code]] = await Promise.all([
    text(client.stdout),
    text(client.stderr),
    once(client, 'exit') as Promise<[number]>,
  ]);
  return { output: out + error, code };
}

/** Guarantees that another TLS than node's is told of too: directly, after a HelloRetryRequest, and refused. */
test('tells of openssl', async () => {
  const demo = await start();
  for (const groups of ['X25519', 'P-256:X25519']) {
    const { output } = await askOpenssl(demo.port, groups);
    expect(output).toContain('Server Temp Key: X25519');
    expect(statuses(output)).toEqual([200]);
  }
  expect(told(demo).map(({ tlsGroup, retried }) => [tlsGroup, retried])).toEqual([
    ['X25519', false],
    ['X25519', true],
  ]);
  const strict = await start('refused');
  const refused = await askOpenssl(strict.port, 'X25519:P-256');
  expect(refused.code).not.toBe(0);
  expect(refused.output).toMatch(/handshake failure/i);
  expect(counted(strict, 'classical_clients_total{outcome="refused"}')).toBe(1);
});

/** A way to the port that puts the client's first message into other records and segments. */
async function fragmenting(port: number, recordBytes: number, segmentBytes: number): Promise<number> {
  const server = createServer((client) => {
    const upstream = connectClear(port, '127.0.0.1').setNoDelay(true);
    let held = Buffer.alloc(0);
    let passed = false;
    client.on('data', (chunk: Buffer) => {
      if (passed) return void upstream.write(chunk);
      held = Buffer.concat([held, chunk]);
      if (held.length < 5 || held.length < 5 + held.readUInt16BE(3)) return;
      passed = true;
      client.pause();
      const end = 5 + held.readUInt16BE(3);
      const bytes = Buffer.concat([recordsOf(held.subarray(5, end), recordBytes), held.subarray(end)]);
      // Each segment once the one before is on its way: together they would be one.
      const send = (at: number): void => {
        if (at >= bytes.length) client.resume();
        else upstream.write(bytes.subarray(at, at + segmentBytes), () => send(at + segmentBytes));
      };
      send(0);
    });
    upstream.on('data', (chunk: Buffer) => client.write(chunk));
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => {}).on('close', () => other.destroy());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as { port: number }).port;
}

/** Guarantees that real handshakes are complete and told of when the hello comes in many records and segments. */
test('serves fragmented hellos', async () => {
  const demo = await start();
  for (const [recordBytes, segmentBytes] of [
    [16_384, 1],
    [16_384, 100],
    [1, 16_384],
    [7, 3],
    [600, 500],
  ] as const) {
    const way = await fragmenting(demo.port, recordBytes, segmentBytes);
    const { group, received } = await ask(way);
    expect([group, statuses(received)]).toEqual(['X25519MLKEM768', [200]]);
  }
  expect(groupsCounted(demo)).toEqual({ X25519MLKEM768: 5, X25519: 0, unknown: 0 });
});

/** Guarantees that a hello longer than is waited for is left to OpenSSL: served when it is sound, its group unknown. */
test('serves long hellos', async () => {
  const demo = await start();
  const ALPNProtocols = Array.from({ length: 250 }, (_, index) => `${index}`.padStart(80, 'x'));
  const { received } = await ask(demo.port, { ALPNProtocols: [...ALPNProtocols, 'http/1.1'] });
  expect(statuses(received)).toEqual([200]);
  expect(groupsCounted(demo)).toEqual({ X25519MLKEM768: 0, X25519: 0, unknown: 1 });
});

/** Guarantees that hostile openings end in time, each counted as failed, and that the service goes on meanwhile. */
test('outlives hostile openings', async () => {
  const demo = await start('served', { handshakeTimeoutMs: 500 });
  const sound = recordsOf(helloOf(['X25519MLKEM768'], ['X25519MLKEM768']));
  const lying = Buffer.from(sound);
  lying.writeUInt16BE(0xffff, 5 + 4 + 2 + 32);
  const openings: readonly (readonly (string | Buffer)[])[] = [
    ['GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    [Buffer.alloc(200_000, 22)],
    [Buffer.from([22])],
    [sound.subarray(0, -1)],
    [Buffer.from([22, 3, 1, 0, 0]), sound],
    [Buffer.from([22, 3, 1, 255, 255]), Buffer.alloc(300_000)],
    [recordsOf(Buffer.from([1, 255, 255, 255])), recordsOf(Buffer.alloc(300_000))],
    Array.from({ length: 40 }, () => recordsOf(Buffer.from([1, 0, 63]))),
    [lying],
    [sound, 'what is no TLS'],
    [recordsOf(helloOf(['X25519MLKEM768'], [])), sound.subarray(0, 50)],
    [recordsOf(Buffer.from([1, 0, 0, 0]))],
    [Buffer.from([21, 3, 1, 0, 2, 2, 40])],
    // A byte at a time for as long as it is let.
    [...sound.subarray(0, 400)].map((byte) => Buffer.from([byte])),
  ];
  const ended = Promise.all(openings.map((parts, index) => raw(demo.port, parts, index === 13 ? 50 : 1)));
  const { group } = await ask(demo.port);
  expect(group).toBe('X25519MLKEM768');
  await ended;
  await vi.waitFor(() => expect(counted(demo, 'failed_handshakes_total')).toBe(openings.length), 20_000);
  expect((await ask(demo.port)).group).toBe('X25519MLKEM768');
  await vi.waitFor(() => expect(valueOf(demo.metrics.text(), 'stathera_http_connections')).toBe(0), 20_000);
  expect(groupsCounted(demo)).toEqual({ X25519MLKEM768: 2, X25519: 0, unknown: 0 });
});

/** Guarantees that a client that goes away at any byte of its hello leaves nothing behind and is counted as failed. */
test('lets go of clients that go away', async () => {
  const demo = await start('served', { handshakeTimeoutMs: 60_000 });
  const sound = recordsOf(helloOf(['X25519MLKEM768'], ['X25519MLKEM768']));
  const lengths = [0, 1, 5, 6, 50, 700, sound.length - 1, sound.length];
  for (const [index, length] of lengths.entries()) {
    const socket = connectClear(demo.port, '127.0.0.1');
    await once(socket, 'connect');
    if (length > 0) await new Promise((resolve) => socket.write(sound.subarray(0, length), resolve));
    if (index % 2 === 0) socket.resetAndDestroy();
    else socket.destroy();
  }
  await vi.waitFor(() => expect(counted(demo, 'failed_handshakes_total')).toBe(lengths.length), 20_000);
  await vi.waitFor(() => expect(valueOf(demo.metrics.text(), 'stathera_http_connections')).toBe(0), 20_000);
  expect((await ask(demo.port)).group).toBe('X25519MLKEM768');
});

/** Guarantees the numbers that groups have in IANA's registry. */
test('knows the groups by number', () => {
  expect(groupsFor('served')).toEqual([
    { name: 'X25519MLKEM768', id: ids.X25519MLKEM768 },
    { name: 'X25519', id: ids.X25519 },
  ]);
  expect(groupsFor('refused').map(({ name }) => name)).toEqual(['X25519MLKEM768']);
});
