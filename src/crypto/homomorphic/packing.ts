import type { Field, Layout } from './layout.ts';

/**
 * Puts the numbers of a contribution into slots.
 * @param valueOf of a field in a cell, within the field's bound
 * @returns a ciphertext's slots each
 * @throws RangeError for a number beyond its bound
 */
export function pack(layout: Layout, valueOf: (field: Field, cell: number) => bigint): BigInt64Array[] {
  const { cells, degree, ciphertexts, limbBits } = layout;
  const packed = Array.from({ length: ciphertexts }, () => new BigInt64Array(degree));
  for (const field of layout.fields) {
    for (let cell = 0; cell < cells; cell += 1) {
      const value = valueOf(field, cell);
      if (value > field.bound || value < -field.bound) throw new RangeError('a number beyond its bound');
      for (const [limb, part] of split(value, field.limbs, limbBits).entries()) {
        const slot = field.firstSlot + limb * cells + cell;
        const slots = packed[Math.floor(slot / degree)];
        if (slots) slots[slot % degree] = part;
      }
    }
  }
  return packed;
}

/** The number as limbs, lowest first. */
function split(value: bigint, limbs: number, limbBits: number): bigint[] {
  const parts: bigint[] = [];
  let rest = value;
  for (let limb = 1; limb < limbs; limb += 1) {
    parts.push(BigInt.asUintN(limbBits, rest));
    rest >>= BigInt(limbBits);
  }
  return [...parts, rest];
}

/** The ciphertexts that hold a field's numbers: from the first to the last. */
export function ciphertextsOf(
  { cells, degree }: Layout,
  { firstSlot, limbs }: Field,
): readonly [number, number] {
  return [Math.floor(firstSlot / degree), Math.floor((firstSlot + limbs * cells - 1) / degree)];
}

/**
 * A number out of totals.
 * @param decrypted slots by ciphertext; those that the field has no part in may be absent
 */
export function unpack(
  { cells, degree, limbBits }: Layout,
  { firstSlot, limbs }: Field,
  cell: number,
  decrypted: ReadonlyMap<number, BigInt64Array>,
): bigint {
  let value = 0n;
  for (let limb = 0; limb < limbs; limb += 1) {
    const slot = firstSlot + limb * cells + cell;
    const part = decrypted.get(Math.floor(slot / degree))?.[slot % degree];
    if (part === undefined) throw new RangeError('a ciphertext is missing');
    value += part << BigInt(limb * limbBits);
  }
  return value;
}
