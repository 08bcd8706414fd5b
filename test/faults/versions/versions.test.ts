import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { makeKey, plaintext } from '../../access/support.ts';
import { emptyDirectory, freshDataDir, removeDirectory, runMain } from '../../support/data.ts';
import { startPostgres, type TestPostgres, whyNoPostgres } from '../../support/postgres.ts';
import { type Answer, startTestService, type TestService } from '../../support/service.ts';

type Version = 'today' | 'additive' | 'closing';

const why = whyNoPostgres();
let server: TestPostgres | undefined;
afterAll(() => server?.remove());

/** One database, and the service over it in a version. */
async function place(over: string) {
  const dataDir = over === 'SQLite' ? await freshDataDir() : await emptyDirectory();
  onTestFinished(() => removeDirectory(dataDir));
  const database =
    over === 'SQLite'
      ? {}
      : { STATHERA_DATABASE_URL: await (server ??= await startPostgres()).createDatabase() };
  const envOf = (version: Version) => ({
    ...{ STATHERA_DATA_DIR: dataDir, ...database },
    ...(version !== 'today' && {
      STATHERA_TEST_VERSION: version,
      NODE_OPTIONS: `--import ${pathToFileURL(join(import.meta.dirname, 'child.ts')).href}`,
    }),
  });
  if (over !== 'SQLite') await runMain(['init'], envOf('today'));
  return {
    command: (version: Version, ...args: string[]) => runMain(args, envOf(version), { allowFailure: true }),
    async serve(version: Version): Promise<TestService> {
      const service = await startTestService({ dataDir, env: envOf(version) });
      onTestFinished(() => service.kill());
      return service;
    },
  };
}

const seal = async (service: TestService, name: string) =>
  String((await worked(service.call('POST', `/v1/keys/${name}/encrypt`, { plaintext }))).body['ciphertext']);

const open = (service: TestService, ciphertext: string) =>
  service.call('POST', '/v1/decrypt', { ciphertext });

async function worked(answer: Promise<Answer>): Promise<Answer> {
  const found = await answer;
  if (found.status >= 300) throw new Error(`${found.status} ${found.text}`);
  return found;
}

/** Clients that make keys and use them, without a pause. */
function load(service: TestService, prefix: string) {
  const answers: Answer[] = [];
  let going = true;
  const clients = [0, 1].map(async (client) => {
    for (let number = 0; going; number += 1) {
      const name = `${prefix}-${client}-${number}`;
      answers.push(await service.call('POST', '/v1/keys', { name }));
      answers.push(await service.call('POST', `/v1/keys/${name}/encrypt`, { plaintext }));
    }
  });
  const stop = async () => {
    going = false;
    await Promise.all(clients);
  };
  onTestFinished(() => stop().catch(() => undefined));
  return { answers, stop };
}

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const both = ['SQLite', 'PostgreSQL'];
/** What differs between the databases, how a process hears of a change, has tests of its own. */
const databases = nightly ? both : both.slice(why === undefined ? 1 : 0).slice(0, 1);

describe.each(databases)('versions beside each other over %s', (over) => {
  beforeEach(({ skip }) => skip(over === 'PostgreSQL' && why !== undefined, why));

  /**
   * Guarantees what a migration's `oldestCode` says. Code that it lets works on beside newer code that migrated under
   * it, with everything but what newer code alone can read, which is refused until a client finds another node. Code
   * that it does not let refuses everything from then on, by itself, and does not start; code that is new enough goes
   * on. Nothing acknowledged is lost.
   */
  test('an older node beside newer ones', async () => {
    const { serve, command } = await place(over);
    const old = await serve('today');
    await makeKey(old, 'first');
    const before = await seal(old, 'first');
    const beside = load(old, 'beside');
    const newer = await serve('additive');
    await worked(newer.call('POST', '/v1/keys', { name: 'plain' }));
    await worked(newer.call('POST', '/v1/keys', { name: 'stewarded', description: 'of anna' }));
    const [plain, stewarded] = [await seal(newer, 'plain'), await seal(newer, 'stewarded')];

    for (const service of [old, newer])
      for (const ciphertext of [before, plain]) await worked(open(service, ciphertext));
    await worked(old.call('POST', '/v1/keys/plain/rotate', {}));
    expect((await worked(newer.call('GET', '/v1/keys/plain'))).body).toMatchObject({ currentVersion: 2 });
    for (const asked of [
      await open(old, stewarded),
      await old.call('POST', '/v1/keys/stewarded/encrypt', { plaintext }),
      await old.call('PATCH', '/v1/keys/stewarded', { description: '' }),
    ]) {
      expect(asked.body, asked.text).toMatchObject({ status: 503, code: 'store/unavailable' });
      expect(asked.body['detail']).toContain('written by newer software');
      expect(asked.headers.get('retry-after')).toBe('1');
    }
    await worked(open(newer, stewarded));
    await beside.stop();
    expect(beside.answers.filter(({ status }) => status >= 300).map(({ text }) => text)).toEqual([]);
    expect(beside.answers.length).toBeGreaterThan(10);

    const during = load(old, 'during');
    await vi.waitFor(() => expect(during.answers.length).toBeGreaterThan(10), 30_000);
    const newest = await serve('closing');
    const closed = { status: 503, code: 'store/unavailable', detail: expect.stringContaining('upgrade it') };
    const refused = await open(old, before);
    expect(refused.body, refused.text).toMatchObject({ status: 503 });
    await during.stop();
    // A busy machine may not get to look in time, and says that first.
    await vi.waitFor(async () => expect((await open(old, before)).body).toMatchObject(closed), 20_000);
    const served = during.answers.filter(({ status }) => status < 300);
    for (const { status, body, text } of during.answers)
      if (status >= 300)
        expect(body, text).toMatchObject({
          status: 503,
          code: expect.stringMatching(/^(store|audit)\/unavailable$/),
        });
    const sealed = served.flatMap(({ body }) => body['ciphertext'] ?? []).slice(-1_000);
    const operations = sealed.map((ciphertext) => ({ operation: 'decrypt', ciphertext }));
    const { body: opened } = await worked(newest.call('POST', '/v1/batch', { operations }));
    expect(opened['results']).toEqual(sealed.map(() => expect.objectContaining({ status: 200, plaintext })));
    for (const [method, path, body] of [
      ['POST', '/v1/keys', { name: 'late' }],
      ['POST', '/v1/random', { bytes: 4 }],
      ['GET', '/v1/keys', undefined],
    ] as const) {
      const answer = await old.call(method, path, body);
      expect(answer.body, answer.text).toMatchObject(closed);
    }
    await vi.waitFor(async () => expect((await old.call('GET', '/readyz')).status).toBe(503), 20_000);
    expect((await old.call('GET', '/healthz')).status).toBe(200);
    expect(old.stderr().split('store.closed')).toHaveLength(2);
    for (const service of [newer, newest]) await worked(open(service, await seal(service, 'stewarded')));
    expect(await old.stop()).toBe(0);
    expect((await command('today', 'serve')).stderr).toMatch(/^stathera: .*closing.*: upgrade it\.$/m);
    expect(await newer.stop()).toBe(0);
    expect(await newest.stop()).toBe(0);
    const verified = await command('closing', 'audit', 'verify', '--with-token');
    expect(verified.stdout, verified.stderr).toMatch(/^ok$/m);
  });
});
