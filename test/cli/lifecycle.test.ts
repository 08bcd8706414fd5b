import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeKey, seal } from '../access/support.ts';
import { startReceiver } from '../events/receiver.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, run } from './support.ts';

let service: TestService;
let env: Env;
beforeAll(async () => {
  service = await startTestService({
    env: { STATHERA_DESTRUCTION_MIN_SECONDS: '1', STATHERA_WEBHOOK_ADDRESSES: '127.0.0.0/8' },
  });
  env = {
    ...{ STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') },
    STATHERA_DATA_DIR: service.dataDir,
  };
  await makeKey(service, 'ends');
  await seal(service, 'ends');
  await service.call('POST', '/v1/keys/ends/rotate', {});
  await service.call('POST', '/v1/keys/ends/rotate', {});
});
afterAll(() => service.dispose());

async function until(what: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 60_000; !(await what()); ) {
    if (performance.now() > deadline) throw new Error('it does not come about');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Guarantees that a person sees what would become unreadable, schedules, takes back, and can check what was destroyed and when. */
test('destroys and restores versions', { timeout: 120_000 }, async () => {
  const dry = await run(env, 'keys', 'destroy', 'ends', '1', '2', '--dry-run');
  expect([dry.code, dry.stderr]).toEqual([0, '']);
  expect(dry.stdout).toMatch(/^1 +enabled +up to 1048576 +\S+ +not known +unknown$/m);
  expect(dry.stdout).toMatch(/^2 +enabled +up to 0 +- +not known +nothing$/m);
  expect(dry.stdout).toContain('nothing was changed');
  const refused = await run(env, 'keys', 'destroy', 'ends', '1');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('rewrap what it encrypted');
  for (const args of [[], ['1', '--all'], ['1', '--window', '7'], ['x'], ['1', '--window', '31d']])
    expect((await run(env, 'keys', 'destroy', 'ends', ...args)).code).not.toBe(0);
  const forced = await run(
    env,
    'keys',
    'destroy',
    'ends',
    '1',
    '--window',
    '7d',
    '--reason',
    'a test',
    '--json',
  );
  expect(forced.json()).toMatchObject({ windowSeconds: 604_800, versions: [{ version: 1 }] });
  expect((await run(env, 'keys', 'restore', 'ends')).stdout).toBe('restored: 1\n');
  expect((await run(env, 'keys', 'destroy', 'ends', '2', '--window', '1s')).code).toBe(0);
  const ended = async () => (await run(env, 'keys', 'destructions', 'ends')).stdout;
  await until(async () => /^2 +destroyed /m.test(await ended()));
  expect(await ended()).toMatch(/^1 +restored .* a test$/m);

  const list = (await run(env, 'keys', 'destructions', 'ends', '--json')).json() as {
    items: { record?: object }[];
  };
  const directory = await mkdtemp(join(tmpdir(), 'stathera-record-'));
  try {
    const file = join(directory, 'record.json');
    await writeFile(file, JSON.stringify(list.items.at(-1)?.record));
    const verified = await run(env, 'keys', 'verify-destruction', file);
    expect([verified.code, verified.stderr]).toEqual([0, '']);
    expect(verified.stdout).toMatch(/^version 2 of the key ends \(\S+\) was destroyed at /);
    expect(verified.stdout).toContain('not claimed: Backups');
  } finally {
    await rm(directory, { recursive: true });
  }
});

/** Guarantees that retention is set, shown with what holds it, and taken away. */
test('sets retention', { timeout: 60_000 }, async () => {
  expect((await run(env, 'keys', 'retention', 'ends')).stdout).toBe(
    'versions are kept until somebody decides\n',
  );
  const dry = ['--keep-latest', '1', '--retire-after', '1s', '--finally', 'disable', '--dry-run'];
  expect((await run(env, 'keys', 'retention', 'ends', ...dry)).stdout).toMatch(
    /^version 1 \(.*\): retire, due$/m,
  );
  const set = await run(env, 'keys', 'retention', 'ends', '--retire-after', '90d');
  expect(set.stdout).toMatch(/^and what was superseded for less than +7776000 s$/m);
  expect((await run(env, 'keys', 'retention', 'ends', '--remove')).code).toBe(0);
});

/** Guarantees that webhooks are made, looked after and removed, and that events are listed. */
test('looks after webhooks', { timeout: 120_000 }, async () => {
  const receiver = await startReceiver();
  try {
    const made = await run(env, 'webhooks', 'create', receiver.url, '--type', 'rotation.done', '--json');
    const { id, secret } = made.json() as { id: string; secret: string };
    expect(secret).toMatch(/^whsec_/);
    receiver.behave((_, answer) => void answer.writeHead(500).end());
    await service.call('POST', '/v1/keys/ends/rotate', {});
    const waiting = async () => (await run(env, 'webhooks', 'deliveries', id)).stdout;
    await until(async () => /^\S+ +pending +1 +500 /m.test(await waiting()));
    expect((await run(env, 'webhooks', 'redeliver', id)).stdout).toBe('0 are sent again\n');
    expect((await run(env, 'webhooks', 'disable', id)).stdout).toBe('it is disabled\n');
    expect((await run(env, 'webhooks', 'list')).stdout).toMatch(
      new RegExp(`^${id} +disabled +rotation\\.done +http`, 'm'),
    );
    expect((await run(env, 'webhooks', 'remove', id)).code).toBe(0);
    expect((await run(env, 'webhooks', 'create', 'https://10.0.0.1/')).code).toBe(1);
    const events = await run(env, 'events', '--type', 'rotation.done');
    expect(events.stdout).toMatch(/^\d+ +\S+ +rotation\.done +\S+ +.*fromVersion=3 toVersion=4/m);
  } finally {
    await receiver.close();
  }
});
