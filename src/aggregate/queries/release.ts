import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { equalBytes, wipe } from '../../core/bytes.ts';
import { createResidueAdder, type ResidueAdder } from '../../crypto/homomorphic/kernel.ts';
import { ciphertextsOf, unpack } from '../../crypto/homomorphic/packing.ts';
import type { Bgv } from '../../crypto/homomorphic/seal.ts';
import { openSecretKey } from '../secret-key.ts';
import { noiseOf, noiseSeedOf } from './noise.ts';
import { type ContributionRef, type OpenedOrder, readContributions } from './order.ts';
import { type Plan, planQuery } from './plan.ts';

// What the one process that decrypts does. It is given an order, which the dataset's key has signed, and the ciphertexts
// that the order names; it checks both for itself, adds, decrypts the sums, adds noise and gives integers. Whatever is
// wrong ends it without a word.

/** An epoch's secret key, still sealed, and the 32 bytes that open it. */
export interface SealedEpochKey {
  readonly seed: Uint8Array;
  readonly sealed: Uint8Array;
}

/** The order is not one that may be answered, or what came is not what it names. */
export class NotReleased extends Error {
  override readonly name = 'NotReleased';
}

/** Gives the next ciphertext's residues. */
export type NextResidues = () => Promise<Uint8Array>;

/** The places of ciphertexts that the plan's fields are in, ascending. */
export function placesOf({ layout }: OpenedOrder['dataset'], { parts }: Pick<Plan, 'parts'>): number[] {
  const places = new Set<number>();
  for (const { field } of parts.flatMap(({ terms }) => terms)) {
    const [first, last] = ciphertextsOf(layout, field);
    for (let place = first; place <= last; place += 1) places.add(place);
  }
  return [...places].toSorted((one, other) => one - other);
}

/**
 * Computes an answer.
 * @param keys one an epoch of the order; wiped
 * @param contributions one an epoch of the order, as `writeContributions` made them
 * @param next the residues: by epoch, then by place, then by contribution
 * @returns for each output of the plan a number for each part
 * @throws NotReleased
 */
export async function release(
  order: OpenedOrder,
  keys: readonly SealedEpochKey[],
  contributions: readonly Uint8Array[],
  { bgv, next }: { readonly bgv: Bgv; readonly next: NextResidues },
): Promise<bigint[][]> {
  const noiseSeed = noiseSeedOf(
    order,
    keys.map(({ seed }) => seed),
  );
  try {
    const plan = planQuery(order.dataset, order.query);
    check(order, plan, keys.length === order.epochs.length && contributions.length === order.epochs.length);
    const places = placesOf(order.dataset, plan);
    const adder = createResidueAdder(order.dataset.parameters);
    const totals: Map<number, Uint8Array>[] = [];
    for (const [index, epoch] of order.epochs.entries()) {
      const refs = checkedContributions(order, epoch, contributions[index]);
      const own = new Map<number, Uint8Array>();
      for (const place of places) own.set(place, await addUp(adder, refs, place, next));
      totals.push(own);
    }
    return await inSlot(slotMilliseconds(places.length * totals.length, plan), () => {
      const sums = plan.outputs.map(() => plan.parts.map(() => 0n));
      for (const [index, epoch] of order.epochs.entries()) {
        const slots = decrypt(bgv, order, epoch, keys[index], totals[index] ?? new Map());
        addSlots(order, plan, epoch.ordinal, slots, sums);
        for (const values of slots.values()) values.fill(0n);
      }
      const noise = noiseOf(plan, noiseSeed);
      return sums.map((numbers, output) => numbers.map((sum, part) => sum + (noise[output]?.[part] ?? 0n)));
    });
  } finally {
    wipe(noiseSeed, ...keys.map(({ seed }) => seed));
  }
}

/** Ten times what it takes at most. */
function slotMilliseconds(ciphertexts: number, { outputs, parts }: Plan): number {
  return 50 + 10 * ciphertexts + 0.1 * outputs.length * parts.length;
}

/**
 * Does what touches plain sums and noise, and lets nobody see when it ended but at the end of a slot, whose length
 * depends on nothing secret: how long a sampler takes tells of what it drew (arXiv 2112.05307, §4).
 */
async function inSlot<T>(milliseconds: number, work: () => T): Promise<T> {
  const started = performance.now();
  const answer = work();
  const slots = Math.ceil((performance.now() - started) / milliseconds);
  await delay(slots * milliseconds - (performance.now() - started));
  return answer;
}

/** What may be asked at all, by what the dataset promised those who contributed. */
function check({ dataset, query, spentUnits }: OpenedOrder, plan: Plan, isWhole: boolean): void {
  const { policy } = dataset;
  const isGrouped = query.groupBy.length > 0 || query.byEpoch;
  if (!isWhole) throw new NotReleased();
  if (!policy.statistics.includes(query.statistic)) throw new NotReleased();
  if (isGrouped && !policy.statistics.includes('group-by')) throw new NotReleased();
  if (plan.units < 1n || spentUnits < 0n) throw new NotReleased();
  if (spentUnits + plan.units > plan.accountant.unitsOf(policy.budget.epsilon)) throw new NotReleased();
}

/** Enough contributors, each as often as it may, nothing twice, and no more than can be added. */
function checkedContributions(
  { dataset: { policy, layout, parameters } }: OpenedOrder,
  { contributionsDigest }: OpenedOrder['epochs'][number],
  bytes: Uint8Array | undefined,
): ContributionRef[] {
  const digest = createHash('sha256')
    .update(bytes ?? new Uint8Array(0))
    .digest();
  if (bytes === undefined || !equalBytes(digest, contributionsDigest)) throw new NotReleased();
  const refs = readContributions(bytes, layout.ciphertexts);
  const contributors = new Map<string, Set<number>>();
  const ciphertexts = new Set<string>();
  for (const { contributor, ordinal, digests } of refs) {
    const name = hexOf(contributor);
    const own = contributors.get(name) ?? new Set();
    contributors.set(name, own.add(ordinal));
    if (ordinal < 1 || ordinal > policy.contributionsPerContributor) throw new NotReleased();
    for (let at = 0; at < digests.length; at += 32) ciphertexts.add(hexOf(digests.subarray(at, at + 32)));
  }
  const placed = [...contributors.values()].reduce((sum, { size }) => sum + size, 0);
  if (placed !== refs.length || ciphertexts.size !== refs.length * layout.ciphertexts)
    throw new NotReleased();
  if (contributors.size < policy.minimumCohort) throw new NotReleased();
  if (refs.length > policy.contributions || refs.length > parameters.additions) throw new NotReleased();
  return refs;
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

async function addUp(
  adder: ResidueAdder,
  refs: readonly ContributionRef[],
  place: number,
  next: NextResidues,
): Promise<Uint8Array> {
  adder.reset();
  for (const { digests } of refs) {
    const residues = await next();
    const digest = createHash('sha256').update(residues).digest();
    if (!equalBytes(digest, digests.subarray(place * 32, (place + 1) * 32))) throw new NotReleased();
    adder.staging.set(residues);
    if (adder.faultOf(0) !== undefined) throw new NotReleased();
    adder.addStaged(1);
  }
  return adder.total();
}

function decrypt(
  bgv: Bgv,
  { dataset: { id: datasetId, namespaceId, parameters } }: OpenedOrder,
  { id: epochId }: OpenedOrder['epochs'][number],
  key: SealedEpochKey | undefined,
  totals: ReadonlyMap<number, Uint8Array>,
): Map<number, BigInt64Array> {
  const place = { namespaceId, datasetId, epochId, parameters: parameters.name };
  const secretKey = key && openSecretKey(key.seed, place, key.sealed);
  if (secretKey === undefined) throw new NotReleased();
  try {
    const decryptor = bgv.decryptor(secretKey);
    try {
      return new Map([...totals].map(([at, residues]) => [at, decryptor.decrypt(residues)] as const));
    } finally {
      decryptor.close();
    }
  } finally {
    wipe(secretKey);
  }
}

/** Adds an epoch's totals to the outputs they are counted in. */
function addSlots(
  { dataset: { layout } }: OpenedOrder,
  plan: Plan,
  epoch: number,
  slots: ReadonlyMap<number, BigInt64Array>,
  sums: bigint[][],
): void {
  for (let cell = 0; cell < layout.cells; cell += 1) {
    const output = sums[plan.outputOf(epoch, cell) ?? -1];
    if (output === undefined) continue;
    for (const [part, { terms }] of plan.parts.entries()) {
      for (const { field, weights } of terms) {
        const weight = weights[cell] ?? 0n;
        if (weight !== 0n) output[part] = (output[part] ?? 0n) + weight * unpack(layout, field, cell, slots);
      }
    }
  }
}
