import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type CipherAlgorithm as Algorithm,
  cipherAlgorithms as algorithms,
  cipherSuites as suites,
} from '../../src/crypto/suites.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { base64, bytes, driver, flipped, overwritten, withoutRequestId } from './support.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  for (const algorithm of algorithms) await calls.createKey(algorithm, { algorithm });
});
afterAll(() => service.dispose());

const context = { table: 'users', row: '42' };
const plaintext = Buffer.from('to be kept');
const overhead = (algorithm: Algorithm) => suites[algorithm].nonceBytes + 100;
const messageId = (ciphertext: Buffer) => ciphertext.subarray(36, 52).toString('hex');

describe.each(algorithms)('%s', (algorithm) => {
  /** Guarantees that a key says its algorithm and where its secret is in use, and a rotated one keeps both. */
  test('is told of the key and its versions', async () => {
    const { protection } = suites[algorithm];
    const name = `told-${algorithm}`;
    const created = await calls.createKey(name, { algorithm });
    expect(created).toMatchObject({ algorithm, protection, currentVersion: 1 });
    const sealed = await calls.encrypt(name, plaintext, context);
    expect(await calls.must('POST', `/v1/keys/${name}/rotate`, {})).toMatchObject({ algorithm, protection });
    const { items } = await calls.must('GET', `/v1/keys/${name}/versions`);
    expect(items).toMatchObject([
      { algorithm, protection, version: 2, usesReserved: 0 },
      { algorithm, protection, version: 1, usesReserved: 2 ** 20 },
    ]);
    const anew = await calls.encrypt(name, plaintext, context);
    expect(anew.subarray(20, 36)).not.toEqual(sealed.subarray(20, 36));
    for (const each of [sealed, anew]) expect(await calls.decrypt(each, context)).toEqual(plaintext);
  });

  /** Guarantees that 0 to 4,096 bytes come back, longer in between by the nonce and 100 bytes, never alike twice. */
  test('round trips', async () => {
    const lengths = fc.oneof(fc.constantFrom(0, 1, 31, 32, 33, 4095, 4096), fc.nat(4096));
    const plaintexts = fc.sample(lengths, 40).map((length) => randomBytes(length));
    const encrypt = plaintexts.map((each) => ({
      ...{ operation: 'encrypt', key: algorithm, plaintext: base64(each), context },
    }));
    const sealed = await calls.batch([...encrypt, ...encrypt]);
    expect(new Set(sealed.map(({ ciphertext }) => ciphertext)).size).toBe(80);
    const opened = await calls.batch(
      sealed.map(({ ciphertext }) => ({ operation: 'decrypt', ciphertext, context })),
    );
    for (const [index, result] of opened.entries()) {
      const expected = plaintexts[index % 40];
      expect(bytes(result.plaintext)).toEqual(expected);
      expect(bytes(sealed[index]?.ciphertext)).toHaveLength((expected?.length ?? 0) + overhead(algorithm));
    }
  });

  /** Guarantees that no bit of a ciphertext can change, no other suite be named, none be cut or made longer. */
  test('forgeries', async () => {
    const sound = await calls.encrypt(algorithm, plaintext, context);
    const forgeries = [
      ...Array.from({ length: sound.length * 8 }, (_, bit) => flipped(sound, bit)),
      ...Array.from({ length: 256 }, (_, suite) => overwritten(sound, 2, Uint8Array.of(suite))).filter(
        (forged) => forged[2] !== sound[2],
      ),
      ...Array.from({ length: sound.length }, (_, length) => sound.subarray(0, length)),
      ...[1, 12, 16, 4096].map((more) => Buffer.concat([sound, Buffer.alloc(more)])),
    ];
    const answers = new Set<string>();
    for (let at = 0; at < forgeries.length; at += 1000) {
      const operations = forgeries.slice(at, at + 1000).map((forged) => ({
        ...{ operation: 'decrypt', ciphertext: base64(forged), context },
      }));
      for (const result of await calls.batch(operations))
        answers.add(withoutRequestId(JSON.stringify(result)));
    }
    expect([...answers]).toEqual([expect.stringContaining('"envelope/decryption-failed"')]);
    expect(await calls.decrypt(sound, context)).toEqual(plaintext);
  });

  /** Guarantees data keys, alone and in a batch, that decrypt opens under their context alone. */
  test('data keys', async () => {
    const made = await calls.must('POST', `/v1/keys/${algorithm}/data-keys`, {
      ...{ count: 3, bytes: 64, context, plaintext: true },
    });
    const batch = await calls.batch([
      { operation: 'data-keys', key: algorithm, count: 2, bytes: 32, context, plaintext: true },
    ]);
    const items = [
      ...(made['items'] as { wrapped: string; plaintext: string }[]),
      ...(batch[0]?.items ?? []),
    ];
    expect(items).toHaveLength(5);
    for (const { wrapped, plaintext: key } of items) {
      expect(bytes(wrapped)).toHaveLength(bytes(key).length + overhead(algorithm));
      expect(await calls.decrypt(bytes(wrapped), context)).toEqual(bytes(key));
      const other = await service.call('POST', '/v1/decrypt', { ciphertext: wrapped });
      expect(other.body['code']).toBe('envelope/decryption-failed');
    }
  });

  /** Guarantees that the key wraps the data key of a payload over 4 KiB, and a rewrap moves that alone. */
  test('a larger payload', async () => {
    const large = randomBytes(10_000);
    const sealed = await calls.encrypt(algorithm, large, context);
    expect(await calls.decrypt(sealed, context)).toEqual(large);
    for (const to of algorithms) {
      const body = { ciphertext: base64(sealed), context, toKey: to };
      const answer = await calls.must('POST', `/v1/keys/${algorithm}/rewrap`, body);
      const fresh = bytes(String(answer['ciphertext']));
      expect(fresh.subarray(-large.length)).toEqual(sealed.subarray(-large.length));
      expect(fresh.length - sealed.length).toBe(overhead(to) - overhead(algorithm));
      expect(await calls.decrypt(fresh, context)).toEqual(large);
    }
  });

  /** Guarantees that a disabled version opens nothing, and one enabled again what it sealed. */
  test('disabled and enabled again', async () => {
    const name = `asleep-${algorithm}`;
    await calls.createKey(name, { algorithm });
    const sealed = await calls.encrypt(name, plaintext, context);
    const body = { ciphertext: base64(sealed), context };
    await calls.must('PATCH', `/v1/keys/${name}/versions/1`, { state: 'disabled' });
    expect((await service.call('POST', '/v1/decrypt', body)).body['code']).toBe('key/version-disabled');
    await calls.must('PATCH', `/v1/keys/${name}/versions/1`, { state: 'enabled' });
    expect(await calls.decrypt(sealed, context)).toEqual(plaintext);
  });
});

/** Guarantees that a message, or a data key, moves from any algorithm to any other and keeps its id and its kind. */
test.each(algorithms.flatMap((from) => algorithms.map((to) => [from, to] as const)))(
  'rewrap from %s to %s',
  async (from, to) => {
    const made = await calls.must('POST', `/v1/keys/${from}/data-keys`, { context, plaintext: true });
    const [dataKey] = made['items'] as { wrapped: string; plaintext: string }[];
    const subjects = [
      [await calls.encrypt(from, plaintext, context), plaintext],
      [bytes(dataKey?.wrapped), bytes(dataKey?.plaintext)],
    ] as const;
    for (const [sealed, expected] of subjects) {
      const body = { ciphertext: base64(sealed), context, toKey: to, toContext: { moved: 'yes' } };
      const answer = await calls.must('POST', `/v1/keys/${from}/rewrap`, body);
      const fresh = bytes(String(answer['ciphertext']));
      expect([...fresh.subarray(0, 4)]).toEqual([0x53, 1, suites[to].number, sealed[3]]);
      expect(fresh).toHaveLength(expected.length + overhead(to));
      expect(messageId(fresh)).toBe(messageId(sealed));
      expect(await calls.decrypt(fresh, { moved: 'yes' })).toEqual(expected);
      expect(await calls.decrypt(sealed, context)).toEqual(expected);
      const forged = { ...body, ciphertext: base64(flipped(sealed, sealed.length * 8 - 1)) };
      const refused = await service.call('POST', `/v1/keys/${from}/rewrap`, forged);
      expect(refused.body['code']).toBe('envelope/decryption-failed');
    }
  },
);
