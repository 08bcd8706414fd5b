import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { createResidueAdder, type ResidueAdder } from '../../../src/crypto/homomorphic/kernel.ts';
import { parameterSets, residueBytes } from '../../../src/crypto/homomorphic/parameters.ts';
import {
  addResidues,
  areReduced,
  isTransparent,
  reduceResidues,
} from '../../../src/crypto/homomorphic/residues.ts';
import { projectRoot } from '../../support/data.ts';

const set = parameterSets['bgv-4096-101'];
const words = residueBytes(set) / 8;
const staged = 5;

let adder: ResidueAdder;
beforeAll(() => {
  adder = createResidueAdder(set, staged);
});

const modulusAt = (at: number): bigint => set.moduli[Math.floor(at / set.degree) % 2]!;

/** Residues that are spread over all there are, the largest among them. */
function residues(seed: number): BigUint64Array<ArrayBuffer> {
  const out = new BigUint64Array(words);
  let state = BigInt(seed) + 1n;
  for (let at = 0; at < words; at += 1) {
    state = BigInt.asUintN(64, state * 6_364_136_223_846_793_005n + 1_442_695_040_888_963_407n);
    const modulus = modulusAt(at);
    out[at] = state % 16n === 0n ? modulus - 1n : (state >> 1n) % modulus;
  }
  return out;
}

function stage(index: number, of: BigUint64Array): void {
  adder.staging.set(new Uint8Array(of.buffer), index * of.byteLength);
}

/** Guarantees that the built kernel is its source, assembled: byte for byte. */
test('the kernel is what its source assembles to', async () => {
  const { kernelModule } = (await import(join(projectRoot, '.ci/kernel.js'))) as {
    kernelModule(): Promise<string>;
  };
  const built = readFileSync(join(projectRoot, 'src/crypto/homomorphic/kernel-bytes.ts'), 'utf8');
  expect(await kernelModule()).toBe(built);
});

/** Guarantees that the kernel's sums are those of its twin in TypeScript, however they are staged and split. */
test('adds as its twin does', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 2 ** 30 }), { maxLength: staged }),
      fc.nat(staged),
      (seeds, cut) => {
        adder.reset();
        const expected = new BigUint64Array(words);
        for (const [index, seed] of seeds.entries()) {
          const one = residues(seed);
          addResidues(expected, one);
          stage(index, one);
        }
        reduceResidues(set, expected);
        adder.addStaged(Math.min(cut, seeds.length));
        // What was added is moved out of the way: the rest is staged from the beginning.
        const rest = seeds.slice(Math.min(cut, seeds.length));
        for (const [index, seed] of rest.entries()) stage(index, residues(seed));
        adder.addStaged(rest.length);
        expect(Buffer.compare(adder.total(), Buffer.from(expected.buffer))).toBe(0);
        expect(areReduced(set, new BigUint64Array(adder.total().buffer))).toBe(true);
      },
    ),
    { numRuns: 12 },
  );
});

/**
 * Guarantees that sums past what 64 bits hold are right: with the largest residues, one addition before a reduction is
 * needed, at it, and after it. Words are taken past 2^63 by the largest modulus there is, which only 2^17 fit into.
 */
test('reduces before a word is full', () => {
  const large = { ...parameterSets['bgv-4096-109'], moduli: [2n ** 61n - 1n, 2n ** 61n - 1n] as const };
  const own = createResidueAdder(large, 4);
  const largest = new BigUint64Array(words).fill(2n ** 61n - 2n);
  for (let index = 0; index < 4; index += 1) {
    own.staging.set(new Uint8Array(largest.buffer), index * largest.byteLength);
  }
  let count = 0;
  for (const now of [1, 4, 3, 4, 4, 4, 2, 4]) {
    own.addStaged(now);
    count += now;
    const total = new BigUint64Array(own.total().buffer);
    const expected = (BigInt(count) * (2n ** 61n - 2n)) % (2n ** 61n - 1n);
    expect([count, total.every((word) => word === expected)]).toEqual([count, true]);
  }
  // Without a look at the total in between, which reduces too.
  own.reset();
  for (let index = 0; index < 4; index += 1) {
    own.staging.set(new Uint8Array(largest.buffer), index * largest.byteLength);
  }
  for (let turn = 0; turn < 25; turn += 1) own.addStaged(4);
  const expected = (100n * (2n ** 61n - 2n)) % (2n ** 61n - 1n);
  expect(new BigUint64Array(own.total().buffer).every((word) => word === expected)).toBe(true);
});

/**
 * Guarantees that a residue at or above its prime, wherever it stands, and a second polynomial of zeros are found, as by
 * the twin, and nothing else is.
 */
test('judges a ciphertext as its twin does', () => {
  const place = fc.nat(words - 1);
  const above = (at: number) =>
    fc.oneof(
      fc.constantFrom(0n, 1n).map((more) => modulusAt(at) + more),
      fc.constantFrom(2n ** 63n - 1n, 2n ** 63n, 2n ** 63n + modulusAt(at), 2n ** 64n - 1n),
    );
  const change = place.chain((at) => above(at).map((value) => ({ at, value })));
  fc.assert(
    fc.property(change, ({ at, value }) => {
      const one = residues(at);
      stage(1, one);
      expect(adder.faultOf(1)).toBeUndefined();
      one[at] = value;
      stage(1, one);
      expect([areReduced(set, one), adder.faultOf(1)]).toEqual([false, 'not-reduced']);
    }),
    { numRuns: 50 },
  );
  fc.assert(
    fc.property(place, (at) => {
      const one = residues(7);
      one.fill(0n, words / 2);
      stage(2, one);
      expect([isTransparent(set, one), adder.faultOf(2)]).toEqual([true, 'transparent']);
      one[at] = 1n;
      stage(2, one);
      const hidden = at < words / 2 ? 'transparent' : undefined;
      expect([isTransparent(set, one), adder.faultOf(2)]).toEqual([hidden !== undefined, hidden]);
    }),
    { numRuns: 50 },
  );
});

/** Guarantees that nothing outside of what was staged is read. */
test('refuses places that it does not have', () => {
  for (const count of [-1, staged + 1, Number.NaN]) {
    expect(() => adder.addStaged(count)).toThrow(RangeError);
    expect(() => adder.faultOf(count)).toThrow(RangeError);
  }
  expect(() => adder.faultOf(staged)).toThrow(RangeError);
});
