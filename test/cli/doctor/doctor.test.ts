import { readdir, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeKey } from '../../access/support.ts';
import { readDocument, tableRows } from '../../docs/markdown.ts';
import { nssModule, openNssToken } from '../../support/nss.ts';
import { startTestService } from '../../support/service.ts';
import { run } from '../support.ts';
import { directoryOfTest, emptyDirectoryOfTest, examine } from './support.ts';

/** Guarantees that a sound machine passes, with every check that the page for operators explains and no other. */
test('passes what is sound', async () => {
  const directory = await directoryOfTest();
  const { code, states, findings } = await examine(directory);
  expect(code).toBe(0);
  // What depends on the machine of the tests, and what an operator does after the set-up.
  const { 'disk sync': _sync, 'disk room': _room, 'open files': _files, ...others } = states;
  expect(others).toEqual({
    ...{
      Node: 'ok',
      'ML-KEM': 'ok',
      'core dumps': 'ok',
      'data directory': 'ok',
      'PIN file': 'ok',
      permissions: 'ok',
    },
    ...{ module: 'ok', token: 'ok', mechanisms: 'ok', database: 'ok', clock: 'ok', listener: 'ok' },
    ...{ enrolment: 'ok', 'bootstrap token': 'warning', backups: 'warning', service: 'unchecked' },
  });
  const explained = tableRows(readDocument('docs/operate.md'), 'check').map(([name]) => name);
  const notHere = ['certificate', 'handshake', 'second token'];
  expect(new Set(findings.map(({ check }) => check).concat(notHere))).toEqual(new Set(explained));
  for (const finding of findings) {
    if (finding.state !== 'ok') expect(finding.next.length, finding.check).toBeGreaterThan(10);
  }
});

/** Guarantees that people read a line for each finding, and below what is not sound what to do. */
test('tells people what to do next', async () => {
  const directory = await directoryOfTest();
  const { stdout } = await run({ STATHERA_DATA_DIR: directory, STATHERA_LISTEN: '127.0.0.1:0' }, 'doctor');
  expect(stdout).toMatch(/^ok +token: stathera /m);
  expect(stdout).toMatch(/^WARNING +bootstrap token: .*\n +next: make tokens for people and services, /m);
});

/** Guarantees that it works beside a running service and leaves everything as it is, also where nothing is set up. */
test('changes nothing', async () => {
  const service = await startTestService({ dataDir: await directoryOfTest() });
  onTestFinished(() => service.kill());
  const before = (await readdir(service.dataDir, { recursive: true })).toSorted();
  const { port } = new URL(service.url);
  const beside = await examine(service.dataDir, { STATHERA_LISTEN: `127.0.0.1:${port}` });
  expect([beside.code, beside.states['service'], beside.states['token']]).toEqual([0, 'ok', 'ok']);
  expect((await readdir(service.dataDir, { recursive: true })).toSorted()).toEqual(before);
  await makeKey(service, 'works');
  const empty = await emptyDirectoryOfTest();
  const nothing = await examine(join(empty, 'data'));
  expect(nothing.code).toBe(1);
  expect(nothing.text('data directory')).toMatch(/is not there.*stathera init/);
  expect(await readdir(empty)).toEqual([]);
});

/** Guarantees that what keeps a service from starting is found: module, token, database. */
test('finds what serve would fail on', async () => {
  const directory = await directoryOfTest();
  const away = await examine(directory, { STATHERA_PKCS11_MODULE: '/nowhere.so' });
  expect([away.code, away.states['token']]).toEqual([1, 'failed']);
  const other = await examine(directory, { STATHERA_PKCS11_TOKEN_LABEL: 'another' });
  expect([other.code, other.states['token']]).toEqual([1, 'failed']);
  await rename(join(directory, 'stathera.db'), join(directory, 'away.db'));
  const lost = await examine(directory);
  expect([lost.code, lost.states['database']]).toEqual([1, 'failed']);
  expect(lost.text('database')).toContain('is not there');
  await rename(join(directory, 'away.db'), join(directory, 'stathera.db'));
  await rm(join(directory, 'hsm', 'pin'));
  const { code, states } = await examine(directory);
  expect([code, states['PIN file'], states['token']]).toEqual([1, 'failed', 'failed']);
});

/** Guarantees that a module that gives its keys out is named, and for what it is good. */
test.skipIf(nssModule === undefined && process.env['CI'] !== 'true')(
  'warns of a leaking module',
  async () => {
    const nss = await openNssToken({ tokenLabel: 'leaks' });
    try {
      const { states, text } = await examine(await directoryOfTest(), {
        STATHERA_PKCS11_MODULE: nss.settings.module,
        STATHERA_PKCS11_TOKEN_LABEL: 'leaks',
        STATHERA_PKCS11_PIN_FILE: nss.settings.pinFile,
      });
      expect(states).toMatchObject({ module: 'warning', token: 'ok', mechanisms: 'ok' });
      expect(text('module')).toMatch(/gives out keys.*tests only/);
    } finally {
      await nss.close();
    }
  },
);

/** Guarantees that what answers at the service’s address is told from a service, and from one that is not ready. */
test('asks what answers', async () => {
  const directory = await directoryOfTest();
  let headers: Record<string, string> = {};
  const server = createServer((_request, response) => response.writeHead(503, headers).end());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const here = { STATHERA_LISTEN: `127.0.0.1:${port}` };
  try {
    expect((await examine(directory, here)).text('service')).toContain('another program answers');
    headers = { 'stathera-version': '1' };
    const away = await examine(directory, here);
    expect([away.code, away.states['service']]).toEqual([1, 'failed']);
    expect(away.text('service')).toContain('not ready');
  } finally {
    server.close();
  }
  const silent = await examine(directory, here);
  expect([silent.code, silent.states['service']]).toEqual([0, 'warning']);
  expect(silent.text('service')).toContain('stathera serve');
});
