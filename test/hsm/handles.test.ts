import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { KeyRef } from '../../src/hsm/hsm.ts';
import { createHandleCache, type HeldKey } from '../../src/hsm/pkcs11/handles.ts';

const keyRef = (id: string): KeyRef => ({ id, kind: 'aes-256', blob: new Uint8Array(40), under: 'root' });

/** A token that counts: handles it gave, those still alive, unwraps. */
function fakeToken() {
  const alive = new Map<number, string>();
  let last = 0;
  return {
    alive,
    unwraps: () => last,
    unwrap: async (key: KeyRef) => {
      await Promise.resolve();
      last += 1;
      alive.set(last, key.id);
      return { generation: 1, handle: Uint8Array.of(last >> 8, last & 255) };
    },
    destroy: ({ handle }: { handle: Uint8Array }) => {
      if (!alive.delete(number(handle))) throw new Error('destroyed twice');
    },
  };
}

function number(handle: Uint8Array): number {
  return (handle[0] ?? 0) * 256 + (handle[1] ?? 0);
}

/**
 * Guarantees, over any interleaving of uses and evictions: a held handle names its key and is alive, the
 * bound holds, nothing is destroyed twice, and at the end only what is cached is alive.
 */
test('held handles live, the rest is bounded', async () => {
  const command = fc.record({
    id: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    evict: fc.boolean(),
    ticks: fc.nat(4),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(command, { maxLength: 60 }),
      fc.integer({ min: 1, max: 4 }),
      async (commands, limit) => {
        const token = fakeToken();
        const cache = createHandleCache(limit, token.unwrap, token.destroy);
        async function use(id: string, ticks: number): Promise<void> {
          const held: HeldKey = cache.tryHold(keyRef(id)) ?? (await cache.hold(keyRef(id)));
          for (let tick = 0; tick <= ticks; tick++) {
            expect(token.alive.get(number(held.handle))).toBe(id);
            expect(cache.cached()).toBeLessThanOrEqual(limit);
            await Promise.resolve();
          }
          cache.release(held);
        }
        await Promise.all(commands.map(({ id, evict, ticks }) => (evict ? cache.evict(id) : use(id, ticks))));
        expect(token.alive.size).toBe(cache.cached());
        expect(cache.misses()).toBe(token.unwraps());
      },
    ),
  );
});

/** Guarantees that the least recently used key falls out first. */
test('the least recently used falls out', async () => {
  const token = fakeToken();
  const cache = createHandleCache(2, token.unwrap, token.destroy);
  for (const id of ['a', 'b', 'a', 'c']) cache.release(await cache.hold(keyRef(id)));
  expect([...token.alive.values()]).toEqual(['a', 'c']);
});

/** Guarantees that a failed unwrap is told to all who waited and is not remembered. */
test('a failure is not cached', async () => {
  let fails = true;
  const token = fakeToken();
  const unwrap = (key: KeyRef) => (fails ? Promise.reject(new Error('no')) : token.unwrap(key));
  const cache = createHandleCache(2, unwrap, token.destroy);
  const outcomes = await Promise.allSettled([cache.hold(keyRef('a')), cache.hold(keyRef('a'))]);
  expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected']);
  expect(cache.misses()).toBe(1);
  fails = false;
  expect((await cache.hold(keyRef('a'))).keyId).toBe('a');
});

/** Guarantees that handles of a token that was re-initialized are neither destroyed nor given out. */
test('a cleared cache forgets', async () => {
  const token = fakeToken();
  const cache = createHandleCache(4, token.unwrap, () => {
    throw new Error('nothing to destroy');
  });
  const held = await cache.hold(keyRef('a'));
  const pending = cache.hold(keyRef('b'));
  cache.clear();
  await expect(pending).rejects.toThrow('re-initialized');
  cache.release(held);
  expect(cache.tryHold(keyRef('a'))).toBeUndefined();
  expect(cache.cached()).toBe(0);
});
