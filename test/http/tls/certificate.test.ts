import { copyFileSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect as connectClear } from 'node:net';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, expect, onTestFinished, test, vi } from 'vitest';
import { ownCertificate, type Reason, stampOf, watchPair } from '../../../src/http/tls/certificate.ts';
import { authorized, startDemo, statuses } from '../demo.ts';
import { ask, certificates, read, valueOf } from './support.ts';

const certs = certificates();
afterAll(() => certs.remove());
const pairs = { one: certs.issue('one'), two: certs.issue('two', 9), three: certs.issue('three') };
type Name = keyof typeof pairs;

const fingerprints = Object.fromEntries(
  Object.entries(pairs).map(([name, { certFile }]) => [name, ownCertificate(read(certFile)).fingerprint256]),
) as Record<Name, string>;

let made = 0;

/** Files of their own with a pair in them, and a way to put another one there. */
function place(first: Name = 'one') {
  made += 1;
  const files = { certFile: join(certs.folder, `${made}.cert`), keyFile: join(certs.folder, `${made}.key`) };
  const put = (name: Name, only?: 'cert' | 'key') => {
    if (only !== 'key') copyFileSync(pairs[name].certFile, files.certFile);
    if (only !== 'cert') copyFileSync(pairs[name].keyFile, files.keyFile);
  };
  put(first);
  return { files, put };
}

async function start(first?: Name) {
  const { files, put } = place(first);
  const demo = await startDemo({ listen: { tls: { ...files, pollMs: 10 } } });
  const metric = (series: string) => valueOf(demo.metrics.text(), `stathera_tls_certificate_${series}`);
  const serves = (name: Name) =>
    vi.waitFor(async () => expect((await ask(demo.port)).fingerprint).toBe(fingerprints[name]), 20_000);
  const logged = (event: string) =>
    demo.logs.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ msg }) => msg === event);
  return { ...demo, files, put, metric, serves, logged };
}

/** Guarantees that a changed pair is served to new connections, told, and that open ones go on. */
test('takes a changed pair', async () => {
  const { port, put, serves, metric, logged } = await start();
  await serves('one');
  const held = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  let received = '';
  held.setEncoding('utf8').on('data', (text: string) => {
    received += text;
  });
  await new Promise((resolve) => held.once('secureConnect', resolve));
  const notAfter = metric('not_after_seconds');
  put('two');
  await serves('two');
  held.write(`GET /v1/demo HTTP/1.1\r\n${authorized}Connection: close\r\n\r\n`);
  await new Promise((resolve) => held.once('close', resolve));
  expect(statuses(received)).toEqual([200]);
  expect([metric('reloads_total{outcome="taken"}'), metric('reloads_total{outcome="refused"}')]).toEqual([
    1, 0,
  ]);
  expect(metric('not_after_seconds') - notAfter).toBeGreaterThan(6 * 24 * 3600);
  expect(metric('not_after_seconds')).toBe(
    ownCertificate(read(pairs.two.certFile)).validToDate.getTime() / 1000,
  );
  expect(logged('tls.reloaded').map(({ fingerprint }) => fingerprint)).toEqual([fingerprints.two]);
});

/** Guarantees that a taken pair keeps version and groups as they were. */
test('speaks as before', async () => {
  const { port, put, serves } = await start();
  put('two');
  await serves('two');
  expect((await ask(port)).group).toBe('X25519MLKEM768');
  expect((await ask(port, { ecdhCurve: 'X25519:X25519MLKEM768' })).group).toBe('X25519MLKEM768');
  await expect(ask(port, { maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version/i);
  await expect(ask(port, { ecdhCurve: 'P-256' })).rejects.toThrow(/handshake failure/i);
});

/** Guarantees that a session of before a change is not resumed after it: who has it shows the new certificate. */
test('ends the sessions of before', async () => {
  const { port, put, serves } = await start();
  const { session } = await ask(port);
  if (session === undefined) throw new Error('no ticket');
  expect((await ask(port, { session })).resumed).toBe(true);
  put('two');
  await serves('two');
  const after = await ask(port, { session });
  expect([after.resumed, statuses(after.received)]).toEqual([false, [200]]);
});

/** Guarantees that links are followed: certbot and Kubernetes change the link, not the file. */
test('follows links', async () => {
  const { files, put } = place('two');
  const linked = { certFile: `${files.certFile}.link`, keyFile: `${files.keyFile}.link` };
  const link = (name: Name) => {
    for (const what of ['certFile', 'keyFile'] as const) {
      symlinkSync(pairs[name][what], `${linked[what]}.new`);
      renameSync(`${linked[what]}.new`, linked[what]);
    }
  };
  link('one');
  const { port } = await startDemo({ listen: { tls: { ...linked, pollMs: 10 } } });
  expect((await ask(port)).fingerprint).toBe(fingerprints.one);
  link('three');
  await vi.waitFor(async () => expect((await ask(port)).fingerprint).toBe(fingerprints.three), 20_000);
  put('one');
});

/** Guarantees that files that cannot be used change nothing, are told with the reason alone, and are taken once mended. */
test('keeps the pair it has', async () => {
  const { port, files, put, serves, metric, logged } = await start();
  const breaks: readonly (readonly [Reason, () => void])[] = [
    ['not-a-pair', () => put('two', 'cert')],
    ['not-a-pair', () => put('three', 'key')],
    ['no-certificate', () => writeFileSync(files.certFile, 'PLANTED5ecret')],
    ['no-key', () => (put('two'), writeFileSync(files.keyFile, 'PLANTED5ecret'))],
    ['no-key', () => (put('two'), writeFileSync(files.keyFile, ''))],
    ['unreadable', () => (put('two'), rmSync(files.keyFile))],
    ['unreadable', () => (put('two'), unlinkSync(files.certFile))],
    ['no-certificate', () => (put('two'), writeFileSync(files.certFile, read(pairs.two.keyFile)))],
    ['unusable', () => (put('two'), writeFileSync(files.certFile, brokenChain()))],
  ];
  for (const [index, [reason, breakIt]] of breaks.entries()) {
    breakIt();
    await vi.waitFor(() => expect(metric('reloads_total{outcome="refused"}')).toBe(index + 1), 20_000);
    expect(logged('tls.reload-refused').at(-1)).toMatchObject({ level: 40, reason });
    expect((await ask(port)).fingerprint).toBe(fingerprints.one);
    expect(metric('refused')).toBe(1);
  }
  put('two');
  await serves('two');
  expect([metric('refused'), metric('reloads_total{outcome="taken"}')]).toEqual([0, 1]);
  expect(JSON.stringify(logged('tls.reload-refused'))).not.toMatch(/PLANTED|BEGIN|error:/);
});

/** The second of two certificates has lost its middle. */
function brokenChain(): string {
  const pem = read(pairs.two.certFile).toString();
  return `${pem}${pem.slice(0, 100)}\n-----END CERTIFICATE-----\n`;
}

/** Guarantees that no handshake fails while pairs change: each gets one whole pair, whichever it is. */
test('changes between handshakes', async () => {
  const { port, put, metric } = await start();
  const known = new Set(Object.values(fingerprints));
  for (const name of ['two', 'three', 'one', 'two', 'one'] as const) {
    const taken = metric('reloads_total{outcome="taken"}');
    put(name);
    do {
      const asked = await Promise.all(Array.from({ length: 4 }, () => ask(port)));
      for (const { fingerprint, received } of asked) {
        expect(known).toContain(fingerprint);
        expect(statuses(received)).toEqual([200]);
      }
    } while (metric('reloads_total{outcome="taken"}') === taken);
  }
});

/** Guarantees that a change in the middle of a handshake does not break it. */
test('changes during a handshake', async () => {
  const { port, put, serves } = await start();
  const clear = connectClear(port, '127.0.0.1');
  await new Promise((resolve) => clear.once('connect', resolve));
  put('two');
  await serves('two');
  const late = await ask(port, { socket: clear });
  expect([late.fingerprint, statuses(late.received)]).toEqual([fingerprints.two, [200]]);
});

/** A watch whose clock the test sets, and what it said. */
async function watched(options: { shiftMs: number; current?: Name }) {
  const { files, put } = place(options.current);
  const state = { shiftMs: options.shiftMs, asked: 0 };
  const said: string[] = [];
  const keys: Buffer[] = [];
  const stop = watchPair(files, await stampOf(files), {
    options: { minVersion: 'TLSv1.3', ecdhCurve: 'X25519MLKEM768' },
    pollMs: 1,
    certificate: ownCertificate(read(files.certFile)),
    now: () => {
      state.asked += 1;
      return Date.now() + state.shiftMs;
    },
    take: ({ key }, { fingerprint256 }) => {
      keys.push(key);
      said.push(fingerprint256);
    },
    refuse: (reason) => said.push(reason),
  });
  onTestFinished(stop);
  return { files, put, state, said, keys, stop };
}

const day = 24 * 3600 * 1000;

/** Guarantees that one that is over is not taken for one that is valid, told once, and taken when its time has come. */
test('waits for the time of a certificate', async () => {
  const { put, state, said, keys } = await watched({ shiftMs: 3 * day, current: 'two' });
  put('one');
  await vi.waitFor(() => expect(said).toEqual(['not-valid-now']), 20_000);
  const { asked } = state;
  await vi.waitFor(() => expect(state.asked).toBeGreaterThan(asked + 10), 20_000);
  expect(said).toEqual(['not-valid-now']);
  state.shiftMs = 0;
  await vi.waitFor(() => expect(said).toEqual(['not-valid-now', fingerprints.one]), 20_000);
  await vi.waitFor(() => expect(keys.every((key) => key.every((byte) => byte === 0))).toBe(true), 20_000);
});

/** Guarantees that one that is over gives way to another such one: a wrong clock must not keep an old key. */
test('takes one that is over for another', async () => {
  const { put, said } = await watched({ shiftMs: 30 * day });
  put('three');
  await vi.waitFor(() => expect(said).toEqual([fingerprints.three]), 20_000);
});

/** Guarantees that a watch that was stopped takes nothing more. */
test('stops', async () => {
  const { put, said, stop, state } = await watched({ shiftMs: 0 });
  put('two');
  await vi.waitFor(() => expect(said).toHaveLength(1), 20_000);
  stop();
  const other = await watched({ shiftMs: 0 });
  const { asked } = state;
  put('three');
  other.put('three');
  await vi.waitFor(() => expect(other.said).toHaveLength(1), 20_000);
  other.put('two');
  await vi.waitFor(() => expect(other.said).toHaveLength(2), 20_000);
  expect([said.length, state.asked]).toEqual([1, asked]);
});

/** Guarantees that a listener that is closed looks at its files no more. */
test('ends with the listener', async () => {
  const closed = await start();
  await closed.listener.close(0);
  const { port } = await startDemo({ listen: { tls: { ...closed.files, pollMs: 10 } } });
  closed.put('two');
  await vi.waitFor(async () => expect((await ask(port)).fingerprint).toBe(fingerprints.two), 20_000);
  expect(closed.metric('reloads_total{outcome="taken"}')).toBe(0);
});
