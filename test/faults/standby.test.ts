import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { plaintext, recordsKept } from '../access/support.ts';
import { emptyDirectory, removeDirectory, runMain } from '../support/data.ts';
import { startPostgres, whyNoPostgres } from '../support/postgres.ts';
import { startTestProxy } from '../support/proxy.ts';
import { type Answer, startTestService, type TestService } from '../support/service.ts';

const why = whyNoPostgres();
const soon = { timeout: 60_000, interval: 50 };

interface Made {
  readonly name: string;
  readonly begun: number;
  readonly milliseconds: number;
  readonly answer: Answer | undefined;
}

/** Clients that make keys, one after the other. */
function load(service: TestService) {
  const made: Made[] = [];
  let [going, count] = [true, 0];
  const clients = [0, 1, 2, 3].map(async () => {
    while (going) {
      count += 1;
      const name = `made-${count}`;
      const begun = performance.now();
      const headers = { 'x-request-id': name };
      const answer = await service.call('POST', '/v1/keys', { name }, { headers }).catch(() => undefined);
      made.push({ name, begun, milliseconds: performance.now() - begun, answer });
      if (answer?.status !== 201) await delay(20);
    }
  });
  const stop = async () => {
    going = false;
    await Promise.all(clients);
  };
  onTestFinished(stop);
  const since = (moment: number, status: number) =>
    made.filter(({ begun, answer }) => begun > moment && answer?.status === status);
  return { made, since, stop };
}

/**
 * Guarantees, with a standby that commits wait for: without it no change is acknowledged, and nobody waits for long;
 * with it again all goes on. When the primary dies and the standby takes its place, the service goes on by itself once
 * its address leads there, and nothing that was acknowledged is lost, no record of it either.
 */
test.skipIf(why !== undefined)('a synchronous standby takes over', { timeout: 300_000 }, async () => {
  const primary = await startPostgres();
  onTestFinished(() => primary.remove());
  const url = await primary.createDatabase();
  const standby = await primary.startStandby('standby');
  onTestFinished(() => standby.remove());
  await primary.query(`alter system set synchronous_standby_names = 'standby'`);
  await primary.query('select pg_reload_conf()');
  const synchronous = `select 1 from pg_stat_replication where sync_state = 'sync'`;
  await vi.waitFor(async () => expect(await primary.query(synchronous)).toHaveLength(1), soon);

  const address = await startTestProxy(primary.port);
  onTestFinished(() => address.close());
  const dataDir = await emptyDirectory();
  onTestFinished(() => removeDirectory(dataDir));
  const env = {
    STATHERA_DATA_DIR: dataDir,
    STATHERA_DATABASE_URL: url.replace(`:${primary.port}/`, `:${address.port}/`),
  };
  await runMain(['init'], env);
  const service = await startTestService({ dataDir, env });
  onTestFinished(() => service.kill());
  const { made, since, stop } = load(service);
  await vi.waitFor(() => expect(since(0, 201).length).toBeGreaterThan(20), soon);

  standby.freeze();
  const frozen = performance.now();
  await vi.waitFor(() => expect(since(frozen, 503).length).toBeGreaterThan(4), soon);
  expect(since(frozen + 500, 201)).toEqual([]);
  standby.thaw();
  const thawed = performance.now();
  await vi.waitFor(() => expect(since(thawed, 201).length).toBeGreaterThan(20), soon);

  await primary.kill();
  const killed = performance.now();
  await standby.query('select pg_promote()');
  address.lead(standby.port);
  address.cut();
  await vi.waitFor(() => expect(since(killed, 201).length).toBeGreaterThan(20), soon);
  await stop();

  for (const { answer, milliseconds } of made) {
    if (answer?.status !== 201)
      expect(answer?.body, answer?.text).toMatchObject({
        ...{ status: 503, code: expect.stringMatching(/^(store|audit)\/unavailable$/) },
      });
    expect(milliseconds).toBeLessThan(25_000);
  }
  const acknowledged = made.filter(({ answer }) => answer?.status === 201).map(({ name }) => name);
  const operations = acknowledged.map((key) => ({ operation: 'encrypt', key, plaintext }));
  const { body } = await service.call('POST', '/v1/batch', { operations: operations.slice(-1_000) });
  expect(body['results']).toEqual(
    operations.slice(-1_000).map(() => expect.objectContaining({ status: 200 })),
  );
  expect(await service.stop()).toBe(0);
  expect((await runMain(['audit', 'verify', '--with-token'], env)).stdout).toMatch(/^ok$/m);
  const times = new Map<string, number>();
  for (const { requestId, outcome } of await recordsKept(service))
    if (outcome === 'allowed') times.set(requestId, (times.get(requestId) ?? 0) + 1);
  expect(acknowledged.filter((name) => times.get(name) !== 1)).toEqual([]);
});
