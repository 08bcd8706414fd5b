import { expect, test } from 'vitest';
import { createCache } from '../../src/core/cache.ts';

/** A load that the test answers. */
function deferred<Value>() {
  return Promise.withResolvers<Value>();
}

/** Guarantees single flight: however many ask for a missing entry, it is loaded once and all get it. */
test('loads a missing entry once', async () => {
  const cache = createCache<string>(10);
  const { promise, resolve } = deferred<string>();
  let loads = 0;
  const load = () => {
    loads += 1;
    return promise;
  };
  const asked = Array.from({ length: 50 }, () => cache.get('a', load));
  resolve('value');
  expect(new Set(await Promise.all(asked))).toEqual(new Set(['value']));
  expect(await cache.get('a', load)).toBe('value');
  expect(loads).toBe(1);
});

/** Guarantees the bound, and that the least recently used entry goes first. */
test('stays within its limit', async () => {
  const cache = createCache<number>(3);
  for (const [index, key] of ['a', 'b', 'c'].entries()) await cache.get(key, async () => index);
  expect(cache.peek('a')).toBe(0);
  await cache.get('d', async () => 3);
  expect(cache.size).toBe(3);
  expect(cache.peek('b')).toBeUndefined();
  expect([...cache.entries()].map(([key]) => key).toSorted()).toEqual(['a', 'c', 'd']);
  for (let index = 0; index < 100; index += 1) await cache.get(`key-${index}`, async () => index);
  expect(cache.size).toBe(3);
});

/** Guarantees that a failure is told to all who waited and not kept: the next to ask loads anew. */
test('does not keep a failure', async () => {
  const cache = createCache<string>(10);
  const { promise, reject } = deferred<string>();
  const waiting = [cache.get('a', () => promise), cache.get('a', () => promise)];
  reject(new Error('not now'));
  for (const outcome of await Promise.allSettled(waiting)) expect(outcome.status).toBe('rejected');
  expect(cache.size).toBe(0);
  expect(await cache.get('a', async () => 'later')).toBe('later');
});

/** Guarantees that what was deleted while it was being loaded is not kept: a change is never hidden by an older read. */
test.each(['delete', 'clear'] as const)('%s during a load wins over the load', async (act) => {
  const cache = createCache<string>(10);
  const old = deferred<string>();
  const before = cache.get('a', () => old.promise);
  if (act === 'delete') cache.delete('a');
  else cache.clear();
  const fresh = deferred<string>();
  const after = cache.get('a', () => fresh.promise);
  fresh.resolve('new');
  expect(await after).toBe('new');
  // The older load ends last and must not replace what is newer.
  old.resolve('old');
  expect(await before).toBe('old');
  expect(cache.peek('a')).toBe('new');
});

/** Guarantees the same when the older load fails after the newer one began. */
test('an old failure does not drop a newer load', async () => {
  const cache = createCache<string>(10);
  const old = deferred<string>();
  const before = cache.get('a', () => old.promise);
  cache.delete('a');
  const fresh = deferred<string>();
  const after = cache.get('a', () => fresh.promise);
  old.reject(new Error('too late'));
  await expect(before).rejects.toThrow('too late');
  const joined = cache.get('a', () => Promise.reject(new Error('loaded twice')));
  fresh.resolve('new');
  expect(await after).toBe('new');
  expect(await joined).toBe('new');
});
