import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createLru } from '../../src/core/lru.ts';

const step = fc.record({
  act: fc.constantFrom('use', 'get', 'set', 'delete'),
  key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
  value: fc.nat(9),
});

/** Guarantees the order of use, as a Map whose entries are put in again with every use has it. */
test('agrees with a Map that is written anew', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const lru = createLru<number>();
      const model = new Map<string, number>();
      for (const { act, key, value } of steps) {
        const known = model.get(key);
        if (act === 'get') expect(lru.get(key)).toBe(known);
        if (act === 'use') expect(lru.use(key)).toBe(known);
        if (act === 'delete') lru.delete(key);
        if (act === 'set') lru.set(key, value);
        if (act === 'delete' || act === 'set' || (act === 'use' && known !== undefined)) model.delete(key);
        if (act === 'set') model.set(key, value);
        if (act === 'use' && known !== undefined) model.set(key, known);
        expect([...lru]).toEqual([...model]);
        expect([lru.size, lru.oldest()]).toEqual([model.size, model.keys().next().value]);
      }
      lru.clear();
      expect([lru.size, lru.oldest(), [...lru]]).toEqual([0, undefined, []]);
    }),
  );
});
