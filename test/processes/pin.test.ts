import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { CKR } from '../../src/hsm/pkcs11/cryptoki.ts';
import { buildFaultyModule, type FaultyModule } from '../faults/hsm/faulty-module.ts';
import { freshDataDir, removeDirectory, runMain } from '../support/data.ts';
import { startTestService } from '../support/service.ts';

let faults: FaultyModule | undefined;
let dataDir: string;
let pinFile: string;
let pin: string;
beforeAll(async () => {
  faults = buildFaultyModule();
  dataDir = await freshDataDir();
  pinFile = join(dataDir, 'hsm', 'pin');
  pin = await readFile(pinFile, 'utf8');
});
afterAll(async () => {
  await removeDirectory(dataDir);
  faults?.remove();
});
beforeEach(async ({ skip }) => {
  if (faults === undefined) skip('needs a C compiler');
  faults?.clear();
  await writeFile(pinFile, pin);
});

const environment = () => ({
  STATHERA_LISTEN: '127.0.0.1:0',
  STATHERA_DATA_DIR: dataDir,
  STATHERA_PROCESSES: '3',
  STATHERA_PKCS11_MODULE: faults?.module ?? '',
  ...faults?.environment,
});
const tries = () => faults?.calls('C_Login') ?? 0;
/** Wrong, and another file each time. */
const spoilPin = () => writeFile(pinFile, `wrong-pin-${performance.now()}\n`);

/** Guarantees that many processes spend one try of a wrong PIN, however often they are started, and say so once. */
test('a wrong PIN has one try, not one a process', async () => {
  await spoilPin();
  const before = tries();
  for (const _ of [1, 2]) {
    const { code, stdout, stderr } = await runMain(['serve'], environment(), { allowFailure: true });
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^stathera: The token refused the PIN .*\n$/);
    expect(tries() - before).toBe(1);
  }
});

/** Guarantees the same of processes that know nothing of each other and log in at the same moment. */
test('a wrong PIN has one try, not one for whoever is as quick', async () => {
  await spoilPin();
  faults?.set('C_Login', { kind: 'hang' });
  const before = tries();
  const doctors = Array.from({ length: 4 }, () => runMain(['doctor'], environment(), { allowFailure: true }));
  // The first one is in the call; the others come to it meanwhile.
  await vi.waitFor(() => expect(tries() - before).toBe(1), { timeout: 60_000, interval: 20 });
  await delay(2_000);
  faults?.clear();
  for (const { code, stdout } of await Promise.all(doctors)) {
    expect(code).toBe(1);
    expect(stdout).toMatch(/^FAILED .*will not be tried again/m);
  }
  expect(tries() - before).toBe(1);
});

/** Guarantees that processes that lost their token together spend one try of a PIN that it no longer takes, and that all heal. */
test('a PIN that went wrong meanwhile has one try', { timeout: 240_000 }, async () => {
  const service = await startTestService({ dataDir, env: environment() });
  try {
    const seen = (event: string) => service.stderr().split(`"msg":"${event}"`).length - 1;
    const soon = { timeout: 100_000, interval: 100 };
    const ready = () =>
      service.call('GET', '/readyz', undefined, { token: null, headers: { connection: 'close' } });
    await vi.waitFor(() => expect(seen('process.listening')).toBe(3), soon);
    faults?.setAll({ kind: 'fail', code: CKR.GENERAL_ERROR });
    // Each probes its token when it is asked.
    await vi.waitFor(async () => {
      await ready();
      expect(seen('hsm.unavailable')).toBe(3);
    }, soon);
    await spoilPin();
    faults?.clear();
    faults?.set('C_Login', { kind: 'slow' });
    const before = tries();
    const refusals = () => service.stderr().split('will not be tried again').length - 1;
    await vi.waitFor(() => expect(refusals()).toBeGreaterThanOrEqual(3), soon);
    expect(tries() - before).toBe(1);
    faults?.clear();
    await writeFile(pinFile, pin);
    await vi.waitFor(() => expect(seen('hsm.ready')).toBe(6), soon);
    await vi.waitFor(async () => expect((await ready()).status).toBe(200), soon);
  } finally {
    await service.dispose();
  }
});
