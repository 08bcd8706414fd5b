import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isServiceError } from '../../src/core/errors.ts';
import type { CoverageEvidence } from '../../src/lifecycle/coverage.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { createModel, type Model, type State } from './model.ts';
import { callerIn, handClock, openParts, type Parts, until } from './support.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const clock = handClock();
/** By key and ordinal. */
const evidence = new Map<string, CoverageEvidence>();
let dataDir: string;
let parts: Parts;

beforeAll(async () => {
  dataDir = await freshDataDir();
  parts = await openParts({
    ...{ dataDir, clock },
    coverage: { latest: async ({ versionId }) => evidence.get(versionId) ?? 'unknown' },
  });
  parts.lifecycle.start();
});
afterAll(async () => {
  await parts.close();
  await removeDirectory(dataDir);
});

interface Subject {
  readonly key: string;
  readonly model: Model;
  /** Of each version that encrypted. */
  readonly ciphertexts: Map<number, Uint8Array>;
}

async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    if (isServiceError(error)) return error.code;
    throw error;
  }
}

let keys = 0;

async function newSubject(): Promise<Subject> {
  const key = `model-${++keys}`;
  await parts.keys.create(callerIn(parts.namespaceId), {
    ...{ name: key, algorithm: 'aes-256-gcm', description: '', tags: {} },
  });
  const subject = { key, model: createModel(clock.now()), ciphertexts: new Map<number, Uint8Array>() };
  // Two versions that encrypted, and one that has not.
  for (const step of [encrypt, rotate, encrypt, rotate]) await take(subject, step);
  return subject;
}

/** No two steps at the same moment: what came before is told by the time. */
async function take(subject: Subject, step: Step): Promise<readonly [model: string, service: string]> {
  clock.pass(1);
  return await step(subject);
}

async function versionsOf(key: string) {
  const { items } = await parts.keys.versions(callerIn(parts.namespaceId), key, { limit: 1_000 });
  return items.toReversed();
}

/** Nothing is due any more that was not looked at. */
async function settled(): Promise<boolean> {
  const due = await parts.store.db
    .selectFrom('version_destructions')
    .select('id')
    .where('state', '=', 'scheduled')
    .where('destroy_at', '<=', clock.now())
    .execute();
  return due.length === 0;
}

/** A step of a history, done to both; @returns what each says */
type Step = (subject: Subject) => Promise<readonly [model: string, service: string]>;

const caller = () => callerIn(parts.namespaceId);
// Mostly versions that are there and are not current.
const ordinal = fc.constantFrom(1, 1, 1, 2, 2, 2, 3, 4);
const ordinals = fc.option(fc.array(ordinal, { minLength: 1, maxLength: 2 }), { nil: undefined, freq: 4 });
const switchable = fc.constantFrom<State>('enabled', 'decrypt-only', 'disabled');

const rotate: Step = async ({ key, model }) => [
  model.rotate(clock.now()),
  await outcomeOf(parts.keys.rotate(caller(), key)),
];

const encrypt: Step = async ({ key, model, ciphertexts }) => {
  const sealing = parts.envelopes.encrypt(caller(), { key, plaintext: Buffer.from('kept'), context: {} });
  const service = await outcomeOf(
    sealing.then(({ ciphertext, keyVersion }) => ciphertexts.set(keyVersion, ciphertext)),
  );
  return [model.encrypt(), service];
};

const set =
  (version: number, state: State): Step =>
  async ({ key, model }) => [
    model.set(version, state),
    await outcomeOf(parts.keys.updateVersion(caller(), key, version, state)),
  ];

const enable =
  (enabled: boolean): Step =>
  async ({ key, model }) => [
    model.enable(enabled, clock.now()),
    await outcomeOf(parts.keys.update(caller(), key, { state: enabled ? 'enabled' : 'disabled' })),
  ];

const cover =
  (version: number, remaining: number): Step =>
  async ({ key, model }) => {
    const row = (await versionsOf(key))[version - 1];
    if (row) evidence.set(row.id, { found: 3, remaining, at: clock.now(), report: 'r' });
    return [model.cover(version, remaining, clock.now()), 'done'];
  };

const schedule =
  (versions: number[] | undefined, forced: boolean, windowSeconds: number): Step =>
  async ({ key, model }) => [
    model.schedule(versions, forced, clock.now() + windowSeconds * 1_000),
    await outcomeOf(
      parts.lifecycle.destroy(caller(), key, { versions, windowSeconds, ...(forced && { reason: 'so' }) }),
    ),
  ];

const restore =
  (versions: number[] | undefined): Step =>
  async ({ key, model }) => [
    model.restore(versions),
    await outcomeOf(parts.lifecycle.restore(caller(), key, versions)),
  ];

const pass =
  (seconds: number): Step =>
  async ({ model }) => {
    clock.pass(seconds * 1_000);
    await until(settled);
    return [model.pass(clock.now()), 'done'];
  };

const window = fc.constantFrom(10, 20);
const step: fc.Arbitrary<readonly [string, Step]> = fc.oneof(
  fc.constant(['rotate', rotate] as const),
  fc.constant(['encrypt', encrypt] as const),
  {
    weight: 2,
    arbitrary: fc.tuple(ordinal, switchable).map((args) => [`set ${args}`, set(...args)] as const),
  },
  fc.boolean().map((to) => [`enable ${to}`, enable(to)] as const),
  {
    weight: 3,
    arbitrary: fc
      .tuple(ordinal, fc.constantFrom(0, 0, 2))
      .map((args) => [`cover ${args}`, cover(...args)] as const),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(ordinals, fc.boolean(), window)
      .map(([of, ...more]) => [`schedule ${of ?? 'all'} ${more}`, schedule(of, ...more)] as const),
  },
  { weight: 2, arbitrary: ordinals.map((of) => [`restore ${of ?? 'all'}`, restore(of)] as const) },
  { weight: 2, arbitrary: fc.constantFrom(5, 10, 20, 86_400).map((s) => [`pass ${s}`, pass(s)] as const) },
);

/** Guarantees, over random histories of everything that decides about versions, that each answer, each state and each ciphertext is as the rules have it. */
test('is what the model says', { timeout: nightly ? 3_600_000 : 120_000 }, async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 30, size: 'max' }), async (history) => {
      const subject = await newSubject();
      const said: string[] = [];
      for (const [name, run] of history) {
        const [model, service] = await take(subject, run);
        said.push(`${name}: ${service}`);
        expect([...said, service]).toEqual([...said, model]);
        const states = (await versionsOf(subject.key)).map(({ state }) => state);
        expect([...said, states]).toEqual([...said, subject.model.states()]);
        seen.add(`${name.split(' ')[0]}: ${service}`);
        for (const state of states) seen.add(state);
      }
      for (const [version, ciphertext] of subject.ciphertexts) {
        const opening = parts.envelopes.decrypt(caller(), { ciphertext, context: {} });
        expect([...said, await outcomeOf(opening)]).toEqual([...said, subject.model.decrypt(version)]);
      }
    }),
    { numRuns: nightly ? 1_000 : 40 },
  );
  // It got everywhere, or says less than it seems to.
  for (const place of ['schedule: done', 'schedule: key/version-in-use', 'restore: done', 'destroyed'])
    expect(seen).toContain(place);
  expect(parts.logged).not.toContain('lifecycle.not-destroyed');
});

/** Guarantees that evidence from before a version was superseded, or of what was encrypted since, counts for nothing. */
test('goes by no stale evidence', async () => {
  const subject = await newSubject();
  for (const step of [encrypt, cover(3, 0), rotate]) await take(subject, step);
  const refused = 'key/version-in-use';
  expect(await take(subject, schedule([3], false, 10))).toEqual([refused, refused]);
  await take(subject, cover(3, 0));
  expect(await take(subject, schedule([3], false, 10))).toEqual(['done', 'done']);
});
