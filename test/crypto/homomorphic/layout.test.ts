import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  cellOf,
  type DatasetShape,
  fieldOf,
  type Layout,
  labelsOf,
  layoutOf,
  NoLayout,
} from '../../../src/crypto/homomorphic/layout.ts';
import { ciphertextsOf, pack, unpack } from '../../../src/crypto/homomorphic/packing.ts';
import { largestTotal, parameterSets } from '../../../src/crypto/homomorphic/parameters.ts';

const set = parameterSets['bgv-4096-101'];
const safe = Number.MAX_SAFE_INTEGER;

const bound = fc.oneof(fc.integer({ min: -1000, max: 1000 }), fc.maxSafeInteger());
const column = fc
  .tuple(bound, bound, fc.boolean())
  .map(([one, other, binned]) => ({ lower: Math.min(one, other), upper: Math.max(one, other), binned }))
  .map(({ lower, upper, binned }) => ({
    name: 'c',
    lower,
    upper,
    ...(binned && upper > lower && { edges: [upper] }),
  }));
const shapes: fc.Arbitrary<DatasetShape> = fc.record({
  columns: fc.array(column, { minLength: 1, maxLength: 3 }),
  groups: fc.array(
    fc.integer({ min: 1, max: 5 }).map((count) => ({
      name: 'g',
      labels: Array.from({ length: count }, (_, at) => String(at)),
    })),
    { maxLength: 2 },
  ),
  squares: fc.boolean(),
  rowsPerContribution: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.constant(2 ** 31)),
  contributions: fc.constantFrom(5, 500, 2 ** 17),
});

/** Every slot as all contributions together fill it, at the bounds: what they would add up to, unreduced. */
function totals(layout: Layout, count: number, values: readonly bigint[]): BigInt64Array[] {
  let at = 0;
  const [one, other] = [0, 1].map(() => pack(layout, () => values[at++]!));
  return one!.map((slots, place) =>
    slots.map((slot, index) => slot * BigInt(count - 1) + other![place]![index]!),
  );
}

/**
 * Guarantees that whatever is declared, as many contributions as an epoch takes, each at its bounds, add up exactly: no
 * slot passes what it holds, and each number comes out of the totals as if it had been added alone.
 */
test('is exact at the bounds', () => {
  fc.assert(
    fc.property(
      shapes,
      fc.infiniteStream(fc.tuple(fc.constantFrom(-2, -1, 0, 1, 2), fc.bigInt(0n, 2n ** 200n))),
      (shape, stream) => {
        const layout = layoutOf(shape, set);
        const values: bigint[] = [];
        for (let turn = 0; turn < 2; turn += 1) {
          for (const { bound: most, measure } of layout.fields) {
            for (let cell = 0; cell < layout.cells; cell += 1) {
              const [kind, random] = stream.next().value as [number, bigint];
              const signed = measure.kind === 'sum';
              const value =
                kind === 2
                  ? most
                  : kind === -2
                    ? signed
                      ? -most
                      : 0n
                    : BigInt(kind) * (random % (most + 1n));
              values.push(signed || value >= 0n ? value : -value);
            }
          }
        }
        const { contributions } = shape;
        const sums = totals(layout, contributions, values);
        const limit = largestTotal(set);
        expect(sums.every((slots) => slots.every((slot) => slot <= limit && slot >= -limit))).toBe(true);
        const decrypted = new Map(sums.entries());
        let at = 0;
        const second = values.length / 2;
        for (const field of layout.fields) {
          for (let cell = 0; cell < layout.cells; cell += 1) {
            const expected = values[at]! * BigInt(contributions - 1) + values[at + second]!;
            expect(unpack(layout, field, cell, decrypted)).toBe(expected);
            at += 1;
          }
        }
      },
    ),
  );
});

/** Guarantees that no slot has two meanings, that none is beyond the ciphertexts, and which ciphertexts a field needs. */
test('gives every number slots of its own', () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const layout = layoutOf(shape, set);
      let next = 0;
      for (const { firstSlot, limbs } of layout.fields) {
        expect(firstSlot).toBe(next);
        next += limbs * layout.cells;
      }
      expect(layout.slots).toBe(next);
      expect(layout.ciphertexts).toBe(Math.ceil(next / set.degree));
      const last = layout.fields.at(-1)!;
      expect(ciphertextsOf(layout, last)[1]).toBe(layout.ciphertexts - 1);
    }),
  );
  const wide: DatasetShape = {
    ...{
      columns: [{ name: 'x', lower: 0, upper: 9 }],
      squares: true,
      rowsPerContribution: 9,
      contributions: 9,
    },
    groups: [{ name: 'g', labels: Array.from({ length: 4096 }, (_, at) => `${at}`) }],
  };
  const layout = layoutOf(wide, set);
  const places = layout.fields.map((field) => ciphertextsOf(layout, field));
  expect(places).toEqual([
    [0, 0],
    [1, 1],
    [2, 2],
  ]);
});

/** Guarantees what the layout of a given shape is: contributors of any version must fill the same slots. */
test('stands still', () => {
  const layout = layoutOf(
    {
      columns: [
        { name: 'salary', lower: 0, upper: 50_000_000, edges: [3_000_000, 6_000_000] },
        { name: 'change', lower: -safe, upper: 10 },
      ],
      groups: [
        { name: 'department', labels: ['a', 'b', 'c'] },
        { name: 'site', labels: ['x', 'y'] },
      ],
      squares: true,
      rowsPerContribution: 2_000,
      contributions: 500,
    },
    set,
  );
  const { fields, ...rest } = layout;
  expect(rest).toEqual({ cells: 6, limbBits: 50, slots: 72, ciphertexts: 1, degree: 4096 });
  expect(fields.map(({ measure, firstSlot, limbs }) => [JSON.stringify(measure), firstSlot, limbs])).toEqual([
    ['{"kind":"count"}', 0, 1],
    ['{"kind":"sum","column":0}', 6, 1],
    ['{"kind":"squares","column":0}', 12, 2],
    ['{"kind":"bin","column":0,"bin":0}', 24, 1],
    ['{"kind":"bin","column":0,"bin":1}', 30, 1],
    ['{"kind":"bin","column":0,"bin":2}', 36, 1],
    ['{"kind":"sum","column":1}', 42, 2],
    ['{"kind":"squares","column":1}', 54, 3],
  ]);
  expect(fieldOf(layout, { kind: 'sum', column: 1 })?.firstSlot).toBe(42);
  expect(fieldOf(layout, { kind: 'sum', column: 2 })).toBeUndefined();
});

/** Guarantees that cells and their labels name each other, the last group's label counting fastest. */
test('numbers cells', () => {
  const groups = [
    { name: 'a', labels: ['0', '1', '2'] },
    { name: 'b', labels: ['0', '1'] },
  ];
  expect(cellOf({ groups }, [2, 1])).toBe(5);
  expect(labelsOf({ groups }, 5)).toEqual([2, 1]);
  for (let cell = 0; cell < 6; cell += 1) expect(cellOf({ groups }, labelsOf({ groups }, cell))).toBe(cell);
  expect(cellOf({ groups: [] }, [])).toBe(0);
});

/** Guarantees that what would not be exact or would not fit has no layout, and that numbers beyond bounds are not packed. */
test('refuses what it cannot prove', () => {
  const shape: DatasetShape = {
    ...{ columns: [{ name: 'x', lower: 0, upper: 9 }], groups: [], squares: false },
    ...{ rowsPerContribution: 10, contributions: 2 ** 17 + 1 },
  };
  expect(() => layoutOf(shape, set)).toThrow(NoLayout);
  expect(layoutOf(shape, parameterSets['bgv-4096-109']).ciphertexts).toBe(1);
  const labels = Array.from({ length: 256 }, (_, at) => `${at}`);
  const groups = ['a', 'b'].map((name) => ({ name, labels }));
  expect(() => layoutOf({ ...shape, contributions: 5, groups }, set)).toThrow(NoLayout);
  const layout = layoutOf({ ...shape, contributions: 5 }, set);
  for (const value of [91n, -91n]) {
    expect(() => pack(layout, ({ measure }) => (measure.kind === 'sum' ? value : 0n))).toThrow(RangeError);
  }
});
