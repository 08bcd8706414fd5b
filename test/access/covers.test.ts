import { expect, test } from 'vitest';
import { covers, maySee, type Principal } from '../../src/access/caller.ts';
import { newId } from '../../src/core/ids.ts';

/** Guarantees that a pattern of names never reaches a key by its id, which would lead beyond the names. */
test('a prefix is one of names, not of ids', () => {
  const id = newId();
  expect(covers('0*', id)).toBe(false);
  expect(covers('*', id)).toBe(false);
  expect(covers(id, id)).toBe(true);
});

/** Guarantees what patterns mean: exact names, beginnings of names, nothing in between. */
test.each([
  ['pay*', 'pay', true],
  ['pay*', 'payments', true],
  ['pay*', 'pa', false],
  ['pay*', 'pay-*', true],
  ['pay-*', 'pay*', false],
  ['pay', 'payments', false],
  ['*', 'anything', true],
])('%s covers %s: %s', (outer, inner, expected) => {
  expect(covers(outer, inner)).toBe(expected);
});

/** Guarantees that a key is seen by its name's patterns or by exactly its id. */
test('sees keys by name and by id', () => {
  const key = { id: newId(), name: 'payments' };
  const holder = (keyPatterns: string[]): Principal => ({
    ...{ kind: 'token', id: newId(), name: 't', namespaceId: newId(), scopes: new Set() },
    keyPatterns,
  });
  expect(maySee(holder(['pay*']), key)).toBe(true);
  expect(maySee(holder([key.id]), key)).toBe(true);
  expect(maySee(holder([key.id.slice(0, 8) + '*']), key)).toBe(false);
  expect(maySee(holder(['billing']), key)).toBe(false);
});
