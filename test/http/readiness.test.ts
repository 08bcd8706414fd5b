import fc from 'fast-check';
import { expect, test } from 'vitest';
import { steadyReadiness } from '../../src/http/readiness.ts';

/** A readiness over a clock that the test moves. */
function startReadiness() {
  let at = 5_000;
  const state = { ready: true };
  const ready = steadyReadiness(
    async () => ({ ready: state.ready, checks: { part: state.ready ? 'ok' : 'unavailable' } }),
    { now: () => 0, monotonic: () => at },
    { badMs: 1_000, goodMs: 3_000 },
  );
  return {
    /** What is said `ms` later, of a part in this state. */
    async look(ms: number, part: boolean) {
      at += ms;
      state.ready = part;
      return (await ready()).ready;
    },
    ready,
  };
}

/** Guarantees that the first look decides at once: a start waits for nothing, and what is broken is not sent work. */
test.each([true, false])('begins with what it finds: %s', async (part) => {
  expect(await startReadiness().look(0, part)).toBe(part);
});

/** Guarantees that a second of failures takes readiness away, not less, and that one good look begins it anew. */
test('a moment does not matter', async () => {
  const { look } = startReadiness();
  await look(0, true);
  expect(await look(1, false)).toBe(true);
  expect(await look(999, false)).toBe(true);
  expect(await look(1, true)).toBe(true);
  expect(await look(1, false)).toBe(true);
  expect(await look(999, false)).toBe(true);
  expect(await look(1, false)).toBe(false);
});

/** Guarantees that a single look, however late, does not take readiness away. */
test('one look is not enough', async () => {
  const { look } = startReadiness();
  await look(0, true);
  expect(await look(60_000, false)).toBe(true);
  expect(await look(60_000, false)).toBe(false);
});

/** Guarantees that readiness comes back after three good seconds, and that one failure begins them anew. */
test('comes back when it has been good for a while', async () => {
  const { look, ready } = startReadiness();
  await look(0, false);
  expect(await look(1, true)).toBe(false);
  expect(await look(2_999, true)).toBe(false);
  expect(await look(1, false)).toBe(false);
  expect(await look(1, true)).toBe(false);
  expect(await look(2_999, true)).toBe(false);
  expect(await ready()).toEqual({ ready: false, checks: { part: 'ok' } });
  expect(await look(1, true)).toBe(true);
});

/** Guarantees over any sequence of looks that it changes at most once a second, and never to what was not found. */
test('does not flutter', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat(2_000), fc.boolean()), { minLength: 1 }), async (looks) => {
      const { look } = startReadiness();
      let [at, changedAt] = [0, Number.NEGATIVE_INFINITY];
      let before: boolean | undefined;
      for (const [ms, part] of looks) {
        at += ms;
        const said = await look(ms, part);
        if (before !== undefined && said !== before) {
          expect(said).toBe(part);
          expect(at - changedAt).toBeGreaterThanOrEqual(1_000);
          changedAt = at;
        }
        before = said;
      }
    }),
  );
});
