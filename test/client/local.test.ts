import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as web from '../../src/client/index.ts';
import * as node from '../../src/client/node/index.ts';
import { collect, inPieces } from '../crypto/payload/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { failure } from './support.ts';

let service: TestService;
let client: node.Client;
beforeAll(async () => {
  service = await startTestService();
  client = node.createClient({ url: service.url, credentials: service.token });
  await client.createKey({ name: 'files' });
  await client.createKey({ name: 'others' });
});
afterAll(() => service.dispose());

const builds = [
  ['Node', node.createLocalEncryption],
  ['the web', web.createLocalEncryption],
] as const;
const context = { tenant: 'acme' };
const associatedData = Buffer.from('users/42');

/** Records of the audit log that tell of data keys and of decryptions. */
async function records(action: string): Promise<number> {
  const { items } = await client.listAuditRecords({ action, limit: 1000 });
  return items.length;
}

/** Guarantees that what one build encrypts the other one opens, in its place alone. */
test.each(builds)('messages between builds, encrypted by that for %s', async (_, create) => {
  const plaintext = randomBytes(1000);
  const sealed = await create({ client, key: 'files' }).encrypt(plaintext, { context, associatedData });
  for (const [, other] of builds) {
    const local = other({ client });
    expect(Buffer.from(await local.decrypt(sealed, { context, associatedData }))).toEqual(plaintext);
    for (const wrong of [
      { associatedData },
      { context },
      { context: { tenant: 'other' }, associatedData },
      { context, associatedData: Buffer.from('users/43') },
    ])
      expect(await failure(local.decrypt(sealed, wrong))).toMatchObject({
        code: 'envelope/decryption-failed',
        message: expect.stringContaining('cannot be decrypted'),
      });
  }
});

/** Guarantees that streams go between builds, whatever pieces they come in. */
test.each(builds)('streams between builds, encrypted by that for %s', async (_, create) => {
  const plaintext = randomBytes(300_000);
  const sealed = await collect(
    create({ client, key: 'files' }).encryptStream(inPieces(plaintext, [7, 70_000]), { context }),
  );
  for (const [, other] of builds) {
    const local = other({ client });
    for (const unsafePipe of [false, true]) {
      const opened = await collect(
        local.decryptStream(inPieces(sealed, [1, 99, 100_000]), { context, unsafePipe }),
      );
      expect(opened.equals(plaintext)).toBe(true);
    }
  }
});

/** Guarantees that nothing of a stream comes out before its last segment is verified, but for unsafePipe. */
test.each(builds)('a stream cut off gives out nothing in the build for %s', async (_, create) => {
  const local = create({ client, key: 'files' });
  const sealed = await collect(local.encryptStream(inPieces(randomBytes(200_000), [65_536])));
  const part = sealed.subarray(0, 150_000);
  const outputs = async (unsafePipe: boolean): Promise<number> => {
    let given = 0;
    const reading = (async () => {
      for await (const piece of local.decryptStream(inPieces(part, [65_536]), { unsafePipe }))
        given += piece.length;
    })();
    expect(await failure(reading)).toMatchObject({ code: 'envelope/decryption-failed' });
    return given;
  };
  expect(await outputs(false)).toBe(0);
  expect(await outputs(true)).toBe(2 * 65_536);
});

/** Guarantees that a rewrapped message and stream open with the new key, version and context, and only so. */
test('rewraps the header alone', async () => {
  const local = node.createLocalEncryption({ client, key: 'files' });
  const plaintext = randomBytes(100_000);
  const stream = await collect(local.encryptStream(inPieces(plaintext, [1 << 20]), { context }));
  const message = await local.encrypt(plaintext, { context, associatedData });
  const before = await client.getKey({ key: 'files' });
  await client.rotateKey({ key: 'files' });
  const moved = await local.rewrap(stream, { context });
  expect(Buffer.from(moved).subarray(150).equals(stream.subarray(150))).toBe(true);
  await client.updateKeyVersion({ key: 'files', version: before.currentVersion, state: 'disabled' });
  const fresh = node.createLocalEncryption({ client });
  expect(await failure(collect(fresh.decryptStream(inPieces(stream, [1 << 20]), { context })))).toMatchObject(
    {
      code: 'key/version-disabled',
    },
  );
  expect(
    (await collect(fresh.decryptStream(inPieces(moved, [1 << 20]), { context }))).equals(plaintext),
  ).toBe(true);
  await client.updateKeyVersion({ key: 'files', version: before.currentVersion, state: 'enabled' });
  const away = await local.rewrap(message, { context, toKey: 'others', toContext: { moved: 'yes' } });
  expect(Buffer.from(await fresh.decrypt(away, { context: { moved: 'yes' }, associatedData }))).toEqual(
    plaintext,
  );
  expect(await failure(fresh.decrypt(away, { context, associatedData }))).toMatchObject({
    code: 'envelope/decryption-failed',
  });
});

/** Guarantees that a header alone can be rewrapped: of a stream of any length no more is needed. */
test('rewraps a beginning', async () => {
  const local = node.createLocalEncryption({ client, key: 'files' });
  const stream = await collect(local.encryptStream(inPieces(randomBytes(10), [10])));
  const header = await local.rewrap(stream.subarray(0, 214));
  expect(header).toHaveLength(214);
  const opened = local.decryptStream(inPieces(Buffer.concat([header, stream.subarray(214)]), [50]));
  expect(await collect(opened)).toHaveLength(10);
  expect(await failure(local.rewrap(stream.subarray(0, 213)))).toMatchObject({
    code: 'envelope/decryption-failed',
  });
});

/** Guarantees that data keys are asked for once by however many want one, and again at each limit. */
test('reuses data keys within limits', async () => {
  const start = await records('envelope.data-keys');
  const asked = async () => (await records('envelope.data-keys')) - start;
  const local = node.createLocalEncryption({ client, key: 'files', reuse: { messages: 10, bytes: 1_000 } });
  const all = await Promise.all(Array.from({ length: 10 }, () => local.encrypt(randomBytes(10))));
  expect(await asked()).toBe(1);
  await local.encrypt(randomBytes(10));
  expect(await asked()).toBe(2);
  await local.encrypt(randomBytes(990));
  expect(await asked()).toBe(2);
  await local.encrypt(randomBytes(1));
  expect(await asked()).toBe(3);
  // A message longer than the limit has a data key of its own.
  await local.encrypt(randomBytes(5_000));
  expect(await asked()).toBe(4);
  await local.encrypt(randomBytes(1), { context });
  await local.encrypt(randomBytes(1), { key: 'others' });
  expect(await asked()).toBe(6);
  const opened = await records('envelope.decrypt');
  const reader = node.createLocalEncryption({ client });
  await Promise.all(all.map((sealed) => reader.decrypt(sealed)));
  expect((await records('envelope.decrypt')) - opened).toBe(1);
  reader.forget();
  await reader.decrypt(all[0] ?? new Uint8Array());
  expect((await records('envelope.decrypt')) - opened).toBe(2);
});

/** Guarantees that without reuse every message has a data key of its own. */
test('a data key a message', async () => {
  const start = await records('envelope.data-keys');
  const local = node.createLocalEncryption({ client, key: 'files', reuse: false });
  const [first, second] = [await local.encrypt(randomBytes(5)), await local.encrypt(randomBytes(5))];
  expect((await records('envelope.data-keys')) - start).toBe(2);
  expect(first.subarray(42, 58)).not.toEqual(second.subarray(42, 58));
  const opened = await records('envelope.decrypt');
  await local.decrypt(first);
  await local.decrypt(first);
  expect((await records('envelope.decrypt')) - opened).toBe(2);
});

/** Guarantees that data keys are given up after their time, for encrypting and decrypting. */
test('data keys grow old', async () => {
  const start = await records('envelope.data-keys');
  const opened = await records('envelope.decrypt');
  const local = node.createLocalEncryption({ client, key: 'files', reuse: { seconds: 1 } });
  const sealed = await local.encrypt(randomBytes(5));
  await local.decrypt(sealed);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  await local.encrypt(randomBytes(5));
  await local.decrypt(sealed);
  expect((await records('envelope.data-keys')) - start).toBe(2);
  expect((await records('envelope.decrypt')) - opened).toBe(2);
});

/** Guarantees that a key that is named to decrypt is the only one that opens, whatever is kept. */
test('opens by one key alone', async () => {
  const local = node.createLocalEncryption({ client, key: 'files' });
  const stream = await collect(local.encryptStream(inPieces(randomBytes(10), [10])));
  const { ciphertext } = await client.encrypt({ key: 'files', plaintext: randomBytes(10) });
  for (const sealed of [await local.encrypt(randomBytes(10)), stream, ciphertext]) {
    for (const key of [undefined, 'files', undefined])
      expect(
        await collect(local.decryptStream(inPieces(sealed, [99]), { ...(key && { key }) })),
      ).toHaveLength(10);
    const other = local.decryptStream(inPieces(sealed, [99]), { key: 'others' });
    expect(await failure(collect(other))).toMatchObject({ code: 'envelope/decryption-failed' });
  }
});

/** Guarantees that ciphertexts of the service itself open too, and never with associated data they do not have. */
test('opens what the service encrypted', async () => {
  const plaintext = Buffer.from('hello');
  const { ciphertext } = await client.encrypt({ key: 'files', plaintext, context });
  const local = node.createLocalEncryption({ client });
  expect(Buffer.from(await local.decrypt(ciphertext, { context }))).toEqual(plaintext);
  expect(await collect(local.decryptStream(inPieces(ciphertext, [50]), { context }))).toEqual(plaintext);
  expect(await failure(local.decrypt(ciphertext, { context, associatedData }))).toMatchObject({
    code: 'envelope/decryption-failed',
  });
});

/** Guarantees that what is no ciphertext fails alike, and a missing key name is said before anything is sent. */
test('bad input', async () => {
  const local = node.createLocalEncryption({ client });
  for (const bytes of [new Uint8Array(), Buffer.from('S'), randomBytes(500), Buffer.of(0x53, 2, 1, 1)])
    for (const reading of [local.decrypt(bytes), collect(local.decryptStream(inPieces(bytes, [100])))])
      expect(await failure(reading)).toMatchObject({ code: 'envelope/decryption-failed' });
  await expect(local.encrypt(randomBytes(1))).rejects.toThrow(/name the key/);
  for (const reuse of [{ messages: 0 }, { messages: 2 ** 33 }, { seconds: 0.5 }, { entries: Number.NaN }])
    expect(() => node.createLocalEncryption({ client, reuse })).toThrow(RangeError);
});

/** Guarantees that a signal ends a wait, and a stream between its pieces, without ending what others wait for. */
test('a signal ends the waiting', async () => {
  const local = node.createLocalEncryption({ client, key: 'files' });
  const ended = AbortSignal.abort(new Error('enough'));
  await expect(local.encrypt(randomBytes(1), { signal: ended })).rejects.toThrow('enough');
  const controller = new AbortController();
  const [one, other] = [
    local.encrypt(randomBytes(1), { signal: controller.signal }),
    local.encrypt(randomBytes(1)),
  ];
  controller.abort(new Error('enough'));
  await expect(one).rejects.toThrow('enough');
  await expect(other).resolves.toBeInstanceOf(Uint8Array);
  const streaming = new AbortController();
  const pieces = (async () => {
    for await (const _ of local.encryptStream(inPieces(randomBytes(1 << 20), [65_536]), streaming))
      streaming.abort(new Error('enough'));
  })();
  await expect(pieces).rejects.toThrow('enough');
});

/** Guarantees that a stream longer than memory may keep is refused, with a hint, before anything comes out. */
test('the spool in memory has a limit', async () => {
  const local = web.createLocalEncryption({
    client,
    key: 'files',
    createSpool: () => web.createMemorySpool(100_000),
  });
  const sealed = await collect(local.encryptStream(inPieces(randomBytes(200_000), [65_536])));
  await expect(collect(local.decryptStream(inPieces(sealed, [65_536])))).rejects.toThrow(web.SpoolFull);
});
