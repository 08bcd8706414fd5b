import type { FieldCiphers } from './ciphers.ts';
import type { Field, Schema } from './compile.ts';
import type { Keyring, KeySlot, KeyVersion, PreparedKey } from './keyring.ts';
import { type Container, findPlaces, type Path, parentsOf } from './paths.ts';
import { FieldRefused, type RefusalReason } from './refusals.ts';

/** A document under way. It is the engine's: changed in place, and of no use once it is refused. */
export interface Item {
  readonly document: unknown;
  /** What its randomized values are bound to, where the caller says it. */
  readonly record?: string | undefined;
  /** Its first refusal: nothing more is done with it. */
  refused?: FieldRefused;
}

/** How many values of each field were treated. */
export type Tally = Map<Field, number>;

export interface Tools {
  readonly ciphers: FieldCiphers;
  readonly schema: Schema;
}

/** A key that must be in the keyring. */
export interface KeyNeed {
  readonly key: string;
  /** By id or ordinal; undefined: the one that it seals with now. */
  readonly version: string | number | undefined;
  readonly slot: KeySlot;
}

/** One value in one document. */
export interface Slot {
  readonly item: Item;
  readonly parent: Container;
  readonly name: string;
}

/** Places of one field, or of one index, in one document. */
const placesLimit = 1_000;

export function refuse(item: Item, reason: RefusalReason, field: string): void {
  item.refused ??= new FieldRefused(reason, field);
}

/** The values of a field in every document that is not refused. */
export function slotsOf({ name: field, path }: Field, items: readonly Item[]): Slot[] {
  const slots: Slot[] = [];
  for (const item of items)
    limited(item, field, () => {
      const add = (parent: Container, name: string) => void slots.push({ item, parent, name });
      findPlaces(item.document, { path, limit: placesLimit }, add);
    });
  return slots;
}

/** The objects in which a path has its last step. */
export function objectsOf(item: Item, name: string, path: Path): readonly Container[] {
  return limited(item, name, () => parentsOf(item.document, path, placesLimit)) ?? [];
}

function limited<Found>(item: Item, name: string, find: () => Found): Found | undefined {
  if (item.refused) return undefined;
  try {
    return find();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    refuse(item, 'too many places', name);
    return undefined;
  }
}

export function valueOf({ parent, name }: Slot): unknown {
  return (parent as Record<string, unknown>)[name];
}

/** No document has the name `__proto__`, by which an assignment would not be one. */
export function put({ parent, name }: Slot, value: unknown): void {
  (parent as Record<string, unknown>)[name] = value;
}

export function count(tally: Tally, field: Field, more = 1): void {
  tally.set(field, (tally.get(field) ?? 0) + more);
}

type Of<Purpose extends KeySlot['purpose']> = PreparedKey & { readonly purpose: Purpose };

/** The prepared key of a slot. @throws TypeError when the keyring has another */
export function preparedFor<Purpose extends KeySlot['purpose']>(
  keyring: Keyring,
  purpose: Purpose,
  { version, slot }: { version: KeyVersion; slot: KeySlot },
): Of<Purpose> {
  const prepared = keyring.prepared(version, slot);
  if (prepared.purpose !== purpose) throw new TypeError('the keyring has a key of another purpose');
  return prepared as Of<Purpose>;
}
