import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { readDocument } from '../docs/markdown.ts';
import { emptyDirectory, removeDirectory, runMain } from '../support/data.ts';
import { startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';
import { startTestProxy } from '../support/proxy.ts';
import { type Answer, startTestService, type TestService } from '../support/service.ts';

const why = whyNoPostgres();

/** A service over a new database. @param via changes its address, for a proxy */
async function place(server: TestPostgres, via: (url: string) => Promise<string> = async (url) => url) {
  const directory = await emptyDirectory();
  onTestFinished(() => removeDirectory(directory));
  const direct = await server.createDatabase();
  const env = { STATHERA_DATABASE_URL: await via(direct), STATHERA_DATA_DIR: directory };
  await runMain(['init'], env);
  const serve = async (): Promise<TestService> => {
    const service = await startTestService({ dataDir: directory, env });
    onTestFinished(() => service.kill());
    return service;
  };
  return { env, serve };
}

const create = (service: TestService, name: string) =>
  service.call('POST', '/v1/keys', { name }, { headers: { 'idempotency-key': randomUUID() } });

async function seal(service: TestService, name: string): Promise<string> {
  const answer = await service.call('POST', `/v1/keys/${name}/encrypt`, { plaintext: 'aGVsbG8=' });
  expect(answer.status, answer.text).toBe(200);
  return String(answer.body['ciphertext']);
}

/** The database itself, or the log that is in it. */
const unavailable = expect.stringMatching(/^(store|audit)\/unavailable$/);

async function opens(service: TestService, ciphertext: string): Promise<void> {
  const answer = await service.call('POST', '/v1/decrypt', { ciphertext });
  expect(answer.body, answer.text).toMatchObject({ plaintext: 'aGVsbG8=' });
}

const isReady = async (service: TestService) => (await service.call('GET', '/readyz')).status === 200;

/** Waits for what must come about by itself. */
async function until(what: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !(await what()); ) {
    if (Date.now() > deadline) throw new Error('it does not come about');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Keys made one after the other by several clients, until `stop`. */
function makeKeys(service: TestService, prefix: string) {
  const answers: { name: string; answer: Answer | undefined; milliseconds: number }[] = [];
  let going = true;
  const clients = [0, 1, 2, 3].map(async (client) => {
    for (let number = 0; going; number += 1) {
      const name = `${prefix}-${client}-${number}`;
      const began = performance.now();
      const answer = await create(service, name).catch(() => undefined);
      answers.push({ name, answer, milliseconds: performance.now() - began });
    }
  });
  return {
    answers,
    made: () => answers.filter(({ answer }) => answer?.status === 201).map(({ name }) => name),
    async stop() {
      going = false;
      await Promise.all(clients);
    },
  };
}

describe.skipIf(why !== undefined)(`a service over PostgreSQL${why === undefined ? '' : ` (${why})`}`, () => {
  let server: TestPostgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.remove());

  /** Guarantees that the service does over PostgreSQL what it does over SQLite: keys, versions, tokens, the log and its check. */
  test('works, and is found again by the next process', async () => {
    const { env, serve } = await place(server);
    const service = await serve();
    const headers = { 'idempotency-key': 'once' };
    const made = await service.call(
      'POST',
      '/v1/keys',
      { name: 'orders', description: 'a\u0000b' },
      { headers },
    );
    expect(made.status, made.text).toBe(201);
    const again = await service.call(
      'POST',
      '/v1/keys',
      { name: 'orders', description: 'a\u0000b' },
      { headers },
    );
    expect(again.text).toBe(made.text);
    expect((await create(service, 'orders')).body).toMatchObject({ code: 'key/exists' });
    const first = await seal(service, 'orders');
    expect((await service.call('POST', '/v1/keys/orders/rotate', {})).body).toMatchObject({
      currentVersion: 2,
    });
    const second = await seal(service, 'orders');
    const token = await service.call('POST', '/v1/access/tokens', { name: 'reader', scopes: ['keys:admin'] });
    expect(token.status, token.text).toBe(201);
    const secret = String(token.body['secret']);
    await service.stop();

    const next = await serve();
    await opens(next, first);
    await opens(next, second);
    const described = await next.call('GET', '/v1/keys/orders', undefined, { token: secret });
    expect(described.body).toMatchObject({ description: 'a\u0000b', currentVersion: 2 });
    const listed = await next.call('GET', '/v1/keys?limit=10');
    expect(listed.body['items']).toHaveLength(1);
    const versions = await next.call('GET', '/v1/keys/orders/versions');
    expect(versions.body['items']).toMatchObject([{ version: 2 }, { version: 1, usesReserved: 1 }]);
    const records = await next.call('GET', '/v1/audit/records?limit=100');
    expect(JSON.stringify(records.body)).toContain('keys.rotate');
    await next.stop();

    const verified = await runMain(['audit', 'verify', '--with-token'], env);
    expect(verified.stdout).toMatch(/^ok$/m);
    const examined = await runMain(['--json', 'doctor'], env, { allowFailure: true });
    expect(examined.stdout).toMatch(/"check":\s*"database",\s*"state":\s*"ok"/);
  });

  /**
   * Guarantees that a damaged part of the log keeps every service from starting and says what to do, that what the
   * page for operators says lets it start without that part, which is told for ever, and that the rest is whole.
   */
  test('a part of the log is damaged', async () => {
    const { env, serve } = await place(server);
    const database = new URL(env.STATHERA_DATABASE_URL).pathname.slice(1);
    for (const name of ['first', 'second']) {
      const service = await serve();
      await create(service, name);
      await service.stop();
    }
    const part = `where writer = 'w1' and number = 2`;
    await server.query(
      `update audit_segment_bytes set bytes = overlay(bytes placing 'x' from 150 for 1) ${part} and start > 0`,
      database,
    );
    const command = (...args: string[]) => runMain(args, env, { allowFailure: true });
    const refused = await command('serve');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(
      /w1-00000002\.ndjson was altered or damaged .* `stathera audit accept-loss`/,
    );
    expect((await command('audit', 'accept-loss')).stdout).toContain('no segment is missing');

    const [sql = ''] =
      /(?<=```sql\n)create table evidence.*?(?=```)/s.exec(readDocument('docs/operate.md')) ?? [];
    await server.query(sql.replaceAll('number = 7', 'number = 2'), database);
    expect((await command('audit', 'accept-loss')).stdout).toMatch(/^missing: w1-00000002\.ndjson$/m);
    expect((await command('audit', 'accept-loss', '--yes')).stdout).toContain('the loss of 1 segments');
    const service = await serve();
    await opens(service, await seal(service, 'second'));
    const { body } = await service.call('GET', '/v1/audit/records?action=keys.create');
    expect(body['items']).toMatchObject([{ target: { name: 'first' } }]);
    await service.stop();
    const verified = await command('audit', 'verify', '--with-token');
    expect(verified.code).toBe(1);
    expect(verified.stdout).toMatch(/^LOST w1-00000002\.ndjson\nhead .*\nNOT OK$/m);
    expect(await server.query('select 1 from evidence', database)).not.toEqual([]);
  });

  /** Guarantees that two services have one database, that what one that was killed left of the log is finished by the other, and that a set-up with another token is refused and harms neither. */
  test('two services have the database', async () => {
    const { env, serve } = await place(server);
    const [first, second] = [await serve(), await serve()];
    await create(first, 'of-the-first');
    await opens(second, await seal(second, 'of-the-first'));
    await create(second, 'of-the-second');
    await opens(first, await seal(first, 'of-the-second'));
    const other = await emptyDirectory();
    onTestFinished(() => removeDirectory(other));
    const another = await runMain(['init'], { ...env, STATHERA_DATA_DIR: other }, { allowFailure: true });
    expect(another.code).not.toBe(0);
    expect(another.stderr).toMatch(/^stathera: .+/m);
    const { body } = await second.call('GET', '/v1/audit/records?action=keys.create');
    const records = body['items'] as { writer: string }[];
    expect(records.map(({ writer }) => writer)).toEqual(['w2', 'w1']);
    await first.kill();
    await opens(second, await seal(second, 'of-the-first'));
    await until(
      async () => second.stderr().includes('"writer":"w1"') && second.stderr().includes('audit.adopted'),
    );
    await second.stop();
    expect((await runMain(['audit', 'verify', '--with-token'], env)).stdout).toMatch(/^ok$/m);
  });

  /** Guarantees that nothing acknowledged is lost when the service is killed among changes, and that the next one starts at once. */
  test('the service is killed', async () => {
    const { serve } = await place(server);
    let service = await serve();
    const acknowledged: string[] = [];
    for (let round = 0; round < 2; round += 1) {
      const load = makeKeys(service, `round-${round}`);
      await until(async () => load.made().length > 30);
      await service.kill();
      await load.stop();
      acknowledged.push(...load.made());
      service = await serve();
      for (const name of acknowledged) await opens(service, await seal(service, name));
    }
    expect(acknowledged.length).toBeGreaterThan(60);
  });

  /** Guarantees that while PostgreSQL is dead everything is refused in 5 s, rather than decided on what is in memory or left unrecorded, all heals by itself, and nothing acknowledged is lost. */
  test('PostgreSQL is killed', async () => {
    const { env, serve } = await place(server);
    const service = await serve();
    await create(service, 'before');
    const ciphertext = await seal(service, 'before');
    const load = makeKeys(service, 'load');
    await until(async () => load.made().length > 30);
    await server.kill();
    const since = load.answers.length;
    await until(async () => load.answers.length > since + 20);
    const unseen = await service.call('POST', '/v1/decrypt', { ciphertext });
    expect(unseen.body, unseen.text).toMatchObject({ status: 503, code: unavailable });
    await until(async () => !(await isReady(service)));
    await server.start();
    await until(() => isReady(service));
    await opens(service, ciphertext);
    const healed = load.made().length;
    await until(async () => load.made().length > healed + 10);
    await load.stop();
    const refused = load.answers.filter(({ answer }) => answer?.status !== 201);
    expect(refused.length).toBeGreaterThan(0);
    for (const { answer, milliseconds } of refused) {
      expect(answer?.body, answer?.text).toMatchObject({ status: 503, code: unavailable });
      expect(answer?.headers.get('retry-after')).toBe('1');
      // 5 s, ten times over on a busy machine.
      expect(milliseconds).toBeLessThan(20_000);
    }
    for (const name of load.made()) await opens(service, await seal(service, name));
    await service.stop();
    expect((await runMain(['audit', 'verify', '--with-token'], env)).stdout).toMatch(/^ok$/m);
  });

  /** Guarantees that a network that swallows everything holds nobody longer than the time limits, and that all goes on when it is back. */
  test('the network swallows everything', { timeout: 120_000 }, async () => {
    const proxy = await startTestProxy(server.port);
    onTestFinished(() => proxy.close());
    const { serve } = await place(server, async (url) => url.replace(`:${server.port}/`, `:${proxy.port}/`));
    const service = await serve();
    const load = makeKeys(service, 'load');
    await until(async () => load.made().length > 10);
    proxy.swallow();
    const since = load.answers.length;
    await until(async () => load.answers.length >= since + 4);
    expect(load.answers.at(-1)?.answer?.body).toMatchObject({ code: unavailable });
    proxy.pass();
    await until(() => isReady(service));
    const healed = load.made().length;
    await until(async () => load.made().length > healed + 10);
    await load.stop();
    for (const name of load.made()) await opens(service, await seal(service, name));
    const late = load.answers.filter(({ milliseconds }) => milliseconds > 25_000);
    expect(late).toEqual([]);
  });
});
