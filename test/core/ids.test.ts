import { expect, test } from 'vitest';
import { idBytes, idFromBytes, isId, newId, serviceNamespaceId } from '../../src/core/ids.ts';
import { publicRandom } from '../../src/core/random.ts';

/** Guarantees that an id survives its bytes, sorts by time, and is told from names. */
test('ids are UUIDv7', () => {
  const ids = Array.from({ length: 1000 }, newId);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.toSorted()).toEqual(ids);
  for (const id of ids.slice(0, 20)) {
    expect(isId(id)).toBe(true);
    expect(idFromBytes(idBytes(id))).toBe(id);
  }
  for (const other of ['payments', '', serviceNamespaceId, '6f1d6f0e-0c0a-4d7c-9f53-0d5d5f6f2a11']) {
    expect(isId(other)).toBe(false);
  }
  expect(() => idFromBytes(new Uint8Array(16).fill(0xff).fill(0, 6, 7))).toThrow();
});

/** Guarantees that nonces cut from the pool never overlap and never repeat, also where the pool is refilled. */
test('public random bytes do not repeat', () => {
  const seen = new Set<string>();
  const lengths = [12, 16, 64, 1, 12];
  let long = 0;
  for (let index = 0; index < 20_000; index += 1) {
    const length = lengths[index % lengths.length] ?? 12;
    const bytes = publicRandom(length);
    expect(bytes).toHaveLength(length);
    if (length < 12) continue;
    long += 1;
    seen.add(Buffer.from(bytes.subarray(0, 12)).toString('hex'));
  }
  expect(seen.size).toBe(long);
  const first = publicRandom(16);
  const kept = Buffer.from(first).toString('hex');
  for (let index = 0; index < 2_000; index += 1) publicRandom(16);
  expect(Buffer.from(first).toString('hex')).toBe(kept);
});
