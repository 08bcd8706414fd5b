import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Adapters } from '../../src/adapters.ts';
import type { HsmConfig } from '../../src/config.ts';
import { ServiceError } from '../../src/core/errors.ts';
import type { Hsm } from '../../src/hsm/hsm.ts';
import { tokensFor, watchToken, workingToken } from '../../src/second-token.ts';

const token = (tokenLabel: string): HsmConfig => ({
  ...{ tokenLabel, module: '/nowhere/module.so', pinFile: '/nowhere/pin', handleLimit: 16, maxQueued: 64 },
});
const [first, second] = [token('first'), token('second')];

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const away = (label: string) => new ServiceError('hsm/unavailable', `${label} is away`);

/** Adapters whose tokens do as they are told when they are logged in to. */
function adaptersOf(does: Readonly<Record<string, () => Promise<void>>>): Adapters {
  return { checkPin: ({ tokenLabel }: HsmConfig) => does[tokenLabel]?.() } as unknown as Adapters;
}

const works = async () => undefined;
const refuses = (label: string) => () => Promise.reject(away(label));
const hangs = () => new Promise<void>(() => undefined);

/** Guarantees that half of the processes prefer each token, and that a node with one has that. */
test('prefers by the process’s number', () => {
  const config = { hsm: first, secondHsm: second } as unknown as Parameters<typeof tokensFor>[0];
  expect([1, 2, 3, 4].map((number) => tokensFor(config, number)[0]?.tokenLabel)).toEqual([
    ...['first', 'second', 'first', 'second'],
  ]);
  expect(tokensFor({ ...config, secondHsm: undefined }, 2)).toEqual([first]);
});

/** Guarantees that the first token that lets log in is taken, that one that hangs is not waited for beyond ten seconds, and who was left out and why. */
test.each([
  ['works', works, 'first', []],
  ['refuses', refuses('first'), 'second', ['first: first is away']],
  ['hangs', hangs, 'second', ['first: The HSM does not answer. Check the device.']],
] as const)('the first token %s', async (_, does, taken, leftOut) => {
  const told: string[] = [];
  const found = workingToken(adaptersOf({ first: does, second: works }), [first, second], (one, reason) => {
    told.push(`${one.tokenLabel}: ${reason}`);
  });
  await vi.advanceTimersByTimeAsync(10_000);
  expect((await found).tokenLabel).toBe(taken);
  expect(told).toEqual(leftOut);
});

/** Guarantees that where no token works the preferred one's reason is told, and that another failure is not taken for it. */
test('no token works', async () => {
  const none = adaptersOf({ first: refuses('first'), second: refuses('second') });
  await expect(workingToken(none, [second, first])).rejects.toMatchObject({ detail: 'second is away' });
  const broken = adaptersOf({ first: () => Promise.reject(new TypeError('broken')), second: works });
  await expect(workingToken(broken, [first, second])).rejects.toThrow('broken');
});

/** Guarantees that a token that is away for less than three seconds is waited for, and that another process is asked for then, and not more often than each ten seconds. */
test('asks for another process', async () => {
  let state = 'ready';
  let probes = 0;
  const probe = async () => {
    probes += 1;
    throw away('first');
  };
  let asked = 0;
  watchToken({ status: () => ({ state }), probe } as unknown as Hsm, () => {
    asked += 1;
  });
  await vi.advanceTimersByTimeAsync(20_000);
  expect(asked).toBe(0);
  expect(probes).toBeGreaterThanOrEqual(9);
  state = 'unavailable';
  await vi.advanceTimersByTimeAsync(2_500);
  state = 'ready';
  await vi.advanceTimersByTimeAsync(1_000);
  state = 'unavailable';
  await vi.advanceTimersByTimeAsync(2_500);
  expect(asked).toBe(0);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(asked).toBe(1);
  await vi.advanceTimersByTimeAsync(8_000);
  expect(asked).toBe(1);
  await vi.advanceTimersByTimeAsync(4_000);
  expect(asked).toBe(2);
});
