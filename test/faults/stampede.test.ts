import { createCipheriv, randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import pkcs11js from 'pkcs11js';
import { expect, onTestFinished, test } from 'vitest';
import type { KeyRef } from '../../src/hsm/hsm.ts';
import { loadModule, readOnlySession, slotsWithLabel } from '../../src/hsm/pkcs11/cryptoki.ts';
import { makeKey as makeServiceKey, seal } from '../access/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { makeKey, openTestToken, sameKeyAnew, type TestToken } from '../support/token.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const parallel = 3_000;

async function openToken(change: { handleLimit?: number } = {}): Promise<TestToken> {
  const token = await openTestToken(change);
  onTestFinished(() => token.close());
  return token;
}

/** Guarantees that the first uses of a key, however many at once, unwrap it once. */
test(`${parallel} parallel decryptions unwrap once`, async () => {
  const { hsm } = await openToken();
  const key = await makeKey(hsm, 'aes-256', await makeKey(hsm, 'kek'));
  const place = { nonce: randomBytes(12), aad: randomBytes(20) };
  const data = await hsm.encrypt(key, { ...place, data: Buffer.from('the message') });
  const cold = sameKeyAnew(key);
  const before = hsm.status().handles.misses;
  const opened = await Promise.all(
    Array.from({ length: parallel }, () => hsm.decrypt(cold, { ...place, data })),
  );
  expect(opened.filter((each) => Buffer.from(each).toString() !== 'the message')).toEqual([]);
  expect(hsm.status().handles.misses).toBe(before + 1);
});

/** Sends requests over many connections, each at once with all of its requests. @returns answers by status and body */
async function pipelined(
  { url }: TestService,
  request: string,
  { connections, each }: { connections: number; each: number },
): Promise<Map<string, number>> {
  const last = request.replace('\r\n', '\r\nConnection: close\r\n');
  const texts = await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      socket.write(request.repeat(each - 1) + last);
      let text = '';
      for await (const chunk of socket) text += String(chunk);
      return text;
    }),
  );
  const counts = new Map<string, number>();
  for (const [, status, body] of texts.join('').matchAll(/HTTP\/1\.1 (\d+)[^{]*(\{[^}]*\})/g)) {
    const answer = `${status} ${body?.includes('"plaintext":"YSBtZXNzYWdl"') === true ? 'right' : 'none'}`;
    counts.set(answer, (counts.get(answer) ?? 0) + 1);
  }
  return counts;
}

async function measured(service: TestService, name: string): Promise<number> {
  const { text } = await service.call('GET', '/metrics');
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

/**
 * Guarantees the same of the whole service after a start, with everything else cold as well; and that with a
 * limit it refuses what is too much, and unwraps no more often for that.
 */
test.for([
  { name: 'all at work', env: { STATHERA_MAX_CONCURRENT: '4000' }, refuses: false },
  { name: 'with a limit', env: { STATHERA_MAX_CONCURRENT: '100' }, refuses: true },
])(
  '3,000 parallel requests after a start unwrap once: $name',
  { timeout: 60_000 },
  async ({ env, refuses }) => {
    const dataDir = await freshDataDir();
    onTestFinished(() => removeDirectory(dataDir));
    const first = await startTestService({ dataDir });
    await makeServiceKey(first, 'key');
    const body = JSON.stringify({ ciphertext: await seal(first, 'key') });
    await first.stop();
    const service = await startTestService({ dataDir, env });
    onTestFinished(() => service.kill());
    const before = await measured(service, 'stathera_hsm_handle_misses');
    const head = `POST /v1/decrypt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.token}\r\n`;
    const fields = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    const answers = await pipelined(service, head + fields + body, { connections: 200, each: 15 });
    const right = answers.get('200 right') ?? 0;
    expect(right + (answers.get('503 none') ?? 0)).toBe(parallel);
    if (refuses) expect(right).toBeLessThan(parallel);
    else expect(right).toBe(parallel);
    expect(right).toBeGreaterThanOrEqual(100);
    expect(await measured(service, 'stathera_hsm_handle_misses')).toBe(before + 1);
    expect(await measured(service, 'stathera_hsm_queued')).toBe(0);
  },
);

/** Objects in the token, those of this process's sessions included. */
function objectsIn({ settings }: TestToken): number {
  const cryptoki = loadModule(settings.module);
  const [slot] = slotsWithLabel(cryptoki, settings.tokenLabel);
  if (slot === undefined) throw new Error('the test token is not there');
  const session = cryptoki.C_OpenSession(slot, readOnlySession);
  try {
    cryptoki.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY }]);
    let count = 0;
    for (let found = 1; found > 0; count += found) found = cryptoki.C_FindObjects(session, 1_000).length;
    cryptoki.C_FindObjectsFinal(session);
    return count;
  } finally {
    cryptoki.C_CloseSession(session);
  }
}

interface ChurnedKey {
  readonly ref: KeyRef;
  readonly expected: Buffer;
}

const place = { nonce: Buffer.alloc(12, 1), aad: Buffer.alloc(20, 2) };
const message = Buffer.alloc(32, 3);

/** A key whose value the test knows, and what it makes of the message. */
function churnedKey(kek: ReturnType<TestToken['importKek']>): ChurnedKey {
  const value = randomBytes(32);
  const cipher = createCipheriv('aes-256-gcm', value, place.nonce).setAAD(place.aad);
  const expected = Buffer.concat([cipher.update(message), cipher.final(), cipher.getAuthTag()]);
  return { ref: kek.importKey('aes-256', value), expected };
}

const keyCount = nightly ? 100_000 : 5_000;
const rounds = 10;
const handleLimit = 200;
const clients = 64;

/** Guarantees over many more keys than there are handles: every answer is its key's, and the token holds no more objects. */
test(`${keyCount} keys through ${handleLimit} handles`, {
  timeout: nightly ? 1_800_000 : 60_000,
}, async () => {
  const token = await openToken({ handleLimit });
  const { hsm } = token;
  const kek = token.importKek();
  const keys = Array.from({ length: keyCount }, () => churnedKey(kek));
  const idle = objectsIn(token);
  let [next, wrong, cached] = [0, 0, 0];
  const use = async ({ ref, expected }: ChurnedKey): Promise<void> => {
    if (!expected.equals(await hsm.encrypt(ref, { ...place, data: message }))) wrong += 1;
    cached = Math.max(cached, hsm.status().handles.cached);
  };
  const client = async (end: number): Promise<void> => {
    while (next < end) {
      const turn = next++;
      const key = keys[turn];
      // A key of the last few hundred again: some are still held, some have just fallen out.
      const again = keys[turn - ((turn * 7919) % (2 * handleLimit))];
      if (key !== undefined) await use(key);
      if (again !== undefined) await use(again);
    }
  };
  for (let round = 1; round <= rounds; round += 1) {
    await Promise.all(Array.from({ length: clients }, () => client((keyCount * round) / rounds)));
    // It comes after what was still to be destroyed. To count beside a thread that makes objects would disturb it:
    // SoftHSM gives a handle to what it finds, and takes it back with the session that looked.
    await hsm.probe();
    expect(objectsIn(token)).toBeLessThanOrEqual(idle + handleLimit + 1);
  }
  expect([wrong, cached]).toEqual([0, handleLimit]);
  expect(hsm.status().handles.misses).toBeGreaterThanOrEqual(keyCount);
});
