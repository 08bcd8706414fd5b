import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { childEnvironment, freshDataDir, removeDirectory } from '../support/data.ts';
import { callerIn, handClock, openParts, type Parts, until } from './support.ts';

let dataDir: string;
let parts: Parts;
const clock = handClock();
beforeAll(async () => {
  dataDir = await freshDataDir();
  parts = await openParts({ dataDir, clock });
});
afterAll(async () => {
  await parts.close();
  await removeDirectory(dataDir);
});

const caller = () => callerIn(parts.namespaceId);

/** A process of ./child.ts. @returns the signal that ended it */
async function run(act: string, key: string, moment: string): Promise<NodeJS.Signals | null> {
  const { STATHERA_PKCS11_MODULE: module = '' } = process.env;
  const env = childEnvironment({
    STATHERA_DATA_DIR: dataDir,
    ...(module !== '' && { STATHERA_PKCS11_MODULE: module }),
    ...{ STATHERA_TEST_ACT: act, STATHERA_TEST_KEY: key, STATHERA_TEST_KILL: moment },
  });
  const file = fileURLToPath(new URL('child.ts', import.meta.url));
  const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  const [, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  return signal;
}

interface Found {
  readonly state: string;
  readonly bytes: number;
  readonly destructions: string[];
}

/** The rows as they are: what a kill may have left in between would be seen here. */
async function look(key: string): Promise<Found> {
  const { id } = await parts.keys.describe(caller(), key);
  const version = await parts.store.db
    .selectFrom('key_versions')
    .select(['state', 'blob'])
    .where('key_id', '=', id)
    .where('ordinal', '=', 1)
    .executeTakeFirstOrThrow();
  const rows = await parts.store.db
    .selectFrom('version_destructions')
    .select(['state', 'record'])
    .where('key_id', '=', id)
    .orderBy('id')
    .execute();
  return {
    state: version.state,
    bytes: version.blob.length,
    destructions: rows.map(({ state, record }) => (record === null ? state : `${state} with a record`)),
  };
}

const wrapped = 40;
const before = { state: 'enabled', bytes: wrapped, destructions: [] };
const scheduled = { state: 'destroy-scheduled', bytes: wrapped, destructions: ['scheduled'] };
const restored = { state: 'enabled', bytes: wrapped, destructions: ['restored'] };
const destroyed = { state: 'destroyed', bytes: 0, destructions: ['destroyed with a record'] };
const retired = { state: 'decrypt-only', bytes: wrapped, destructions: [] };

const schedule = (key: string) =>
  parts.lifecycle.destroy(caller(), key, { versions: [1], windowSeconds: 60, reason: 'tried' });
const retain = (key: string) =>
  parts.lifecycle.setRetention(caller(), key, { keepLatest: 1, finally: 'retire', windowSeconds: 60 }, false);

/** What is done, from what to what; and how it is finished where the kill came before it. */
const acts = [
  { name: 'a scheduling', act: 'schedule', from: before, to: scheduled, finish: schedule },
  {
    ...{ name: 'a restoring', act: 'restore', from: scheduled, to: restored, prepare: schedule },
    finish: (key: string) => parts.lifecycle.restore(caller(), key),
  },
  { name: 'a destruction', act: 'due', from: scheduled, to: destroyed, prepare: schedule },
  { name: 'a retirement', act: 'due', from: before, to: retired, prepare: retain },
];

/** Guarantees that a process killed before or after the commit of what it does to a version leaves all of it or nothing, and that it is done once in the end. */
test.each(acts)('kill -9 in $name', async ({ name, act, from, to, prepare, finish }) => {
  for (const [moment, left] of [
    ['before', from],
    ['after', to],
  ] as const) {
    const key = `${name}-${moment}`.replaceAll(' ', '-');
    await parts.keys.create(caller(), { name: key, algorithm: 'aes-256-gcm', description: '', tags: {} });
    const { ciphertext } = await parts.envelopes.encrypt(caller(), {
      ...{ key, plaintext: Buffer.from('kept'), context: {} },
    });
    await parts.keys.rotate(caller(), key);
    await prepare?.(key);
    expect(await run(act, key, moment)).toBe('SIGKILL');
    expect(await look(key)).toEqual(left);
    if (left === from) await (finish ? finish(key) : whatIsDue(key, to.state));
    expect(await look(key)).toEqual(to);
    const opening = parts.envelopes.decrypt(caller(), { ciphertext, context: {} });
    if (to === restored || to === retired) expect((await opening).keyVersion).toBe(1);
    else await expect(opening).rejects.toThrow('key/version-disabled');
  }
});

/** Another does it, once the dead one's lease is over. */
async function whatIsDue(key: string, state: string): Promise<void> {
  const other = parts.newLifecycle();
  clock.pass(120_000);
  other.start();
  try {
    await until(async () => {
      clock.pass(100);
      return (await look(key)).state === state;
    });
  } finally {
    await other.close();
  }
}
