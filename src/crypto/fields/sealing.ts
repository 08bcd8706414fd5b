import { blindIndex } from './blind-index.ts';
import type { FieldCiphers, FieldHmac } from './ciphers.ts';
import type { Field, Index } from './compile.ts';
import {
  count,
  type Item,
  type KeyNeed,
  objectsOf,
  preparedFor,
  put,
  refuse,
  type Slot,
  slotsOf,
  type Tally,
  type Tools,
  valueOf,
} from './items.ts';
import type { Keyring, KeyVersion, PreparedKey } from './keyring.ts';
import { FieldRefused } from './refusals.ts';
import { isSealedText, writeSealed } from './sealed-text.ts';
import { encodeValue } from './values.ts';

const nonceBytes = 12;
/** AES-SIV goes through a value twice, block by block. */
const deterministicLimitBytes = 64 * 1024;

/** Of some fields, and of the indexes that are made of them alone. */
export interface Chosen {
  readonly fields: readonly Field[];
  readonly indexes: readonly Index[];
}

/** @param allowed by the name of its key */
export function choose({ schema }: Pick<Tools, 'schema'>, allowed: (key: string) => boolean): Chosen {
  const fields = schema.fields.filter(({ key }) => allowed(key));
  const indexes = schema.indexes.filter(({ parts }) => parts.every(({ field }) => fields.includes(field)));
  return { fields, indexes };
}

export function sealingNeeds({ fields, indexes }: Chosen): KeyNeed[] {
  const ofFields = fields.flatMap(({ key, treatment }): KeyNeed[] => {
    if (treatment.kind === 'none') return [];
    const version = treatment.kind === 'format' ? treatment.keyVersion : undefined;
    return [{ key, version, slot: treatment.slot }];
  });
  return [...ofFields, ...indexes.map(({ key, slot }) => ({ key, version: undefined, slot }))];
}

/** Values that stay as they are, by what they are in. */
export type Kept = Map<object, Set<string>>;

/**
 * Seals the chosen fields of documents and writes their indexes. Each document is refused by itself.
 * @param keyring with `sealingNeeds`
 * @param kept values that are sealed already, by a version that is the current one
 */
export function sealItems(
  tools: Tools,
  { chosen, keyring, kept }: { chosen: Chosen; keyring: Keyring; kept?: Kept },
  items: readonly Item[],
): Tally {
  const tally: Tally = new Map();
  for (const field of chosen.fields) {
    const { treatment } = field;
    if (treatment.kind === 'none') continue;
    const slots = slotsOf(field, items).filter(({ parent, name }) => kept?.get(parent)?.has(name) !== true);
    if (slots.length === 0) continue;
    const version = versionFor(field, keyring);
    const prepared = keyring.prepared(version, treatment.slot);
    if (treatment.kind === 'format') sealFormat(field, { treatment, slots, version, prepared });
    else if (prepared.purpose === 'randomized') sealRandomized(tools.ciphers, field, prepared, slots);
    else if (prepared.purpose === 'deterministic') sealDeterministic(tools.ciphers, field, prepared, slots);
    count(tally, field, slots.filter(({ item }) => !item.refused).length);
  }
  return tally;
}

function versionFor({ key, treatment }: Field, keyring: Keyring): KeyVersion {
  if (treatment.kind !== 'format' || treatment.keyVersion === undefined) return keyring.current(key);
  const pinned = keyring.version(key, treatment.keyVersion);
  if (pinned === undefined) throw new TypeError('the keyring lacks the version that the schema names');
  return pinned;
}

/** Takes the values out of documents that are not refused, each as bytes in memory of its own. */
function plaintextsOf(field: Field, slots: readonly Slot[], limitBytes: number) {
  const plaintexts: { slot: Slot; plaintext: Uint8Array }[] = [];
  for (const slot of slots) {
    const value = valueOf(slot);
    if (isSealedText(value)) refuse(slot.item, 'sealed already', field.name);
    if (slot.item.refused) continue;
    const plaintext = encodeValue(value);
    if (plaintext.length <= limitBytes) plaintexts.push({ slot, plaintext });
    else refuse(slot.item, 'too long', field.name);
  }
  return plaintexts;
}

type Randomized = PreparedKey & { readonly purpose: 'randomized' };
type Deterministic = PreparedKey & { readonly purpose: 'deterministic' };

function sealRandomized(
  ciphers: FieldCiphers,
  field: Field,
  { aead, header, aadOf }: Randomized,
  slots: readonly Slot[],
): void {
  for (const { slot, plaintext } of plaintextsOf(field, slots, Number.POSITIVE_INFINITY)) {
    const nonce = ciphers.random(nonceBytes);
    const sealed = aead.seal(nonce, plaintext, aadOf(slot.item.record));
    plaintext.fill(0);
    put(slot, writeSealed(ciphers, header, nonce, ...sealed));
  }
}

function sealDeterministic(
  ciphers: FieldCiphers,
  field: Field,
  { place, header }: Deterministic,
  slots: readonly Slot[],
): void {
  const values = plaintextsOf(field, slots, deterministicLimitBytes);
  const sealed = place.seal(values.map(({ plaintext }) => plaintext));
  values.forEach(({ slot, plaintext }, index) => {
    plaintext.fill(0);
    put(slot, writeSealed(ciphers, header, sealed[index] as Uint8Array));
  });
}

function sealFormat(
  field: Field,
  {
    treatment: { cipher, versionMember },
    slots,
    version,
    prepared,
  }: {
    treatment: Field['treatment'] & { readonly kind: 'format' };
    slots: readonly Slot[];
    version: KeyVersion;
    prepared: PreparedKey;
  },
): void {
  if (prepared.purpose !== 'format') throw new TypeError('the keyring has a key of another purpose');
  const texts = textSlots(field, slots, versionMember);
  const results = cipher.encrypt(
    prepared.ff1,
    texts.map(({ text }) => text),
  );
  texts.forEach(({ slot }, index) => {
    const result = results[index] as string | FieldRefused;
    if (result instanceof FieldRefused) return refuse(slot.item, result.reason, field.name);
    put(slot, result);
    if (versionMember !== undefined) Reflect.set(slot.parent, versionMember, version.ordinal);
  });
}

function textSlots(field: Field, slots: readonly Slot[], versionMember: string | undefined) {
  return slots.flatMap((slot) => {
    const text = valueOf(slot);
    if (typeof text !== 'string') refuse(slot.item, 'no text', field.name);
    else if (versionMember !== undefined && Array.isArray(slot.parent))
      refuse(slot.item, 'no object', field.name);
    else if (versionMember !== undefined && Object.hasOwn(slot.parent, versionMember))
      refuse(slot.item, 'member exists', field.name);
    else return [{ slot, text }];
    return [];
  });
}

/** An index that is to be written once its fields are sealed. */
export interface PendingIndex {
  readonly item: Item;
  readonly parent: object;
  readonly member: string;
  readonly value: string;
}

/** Makes the indexes of documents whose fields are open. A field that is absent or null has none. */
export function makeIndexes(
  { ciphers }: Tools,
  { chosen, keyring }: { chosen: Chosen; keyring: Keyring },
  items: readonly Item[],
): PendingIndex[] {
  const pending: PendingIndex[] = [];
  for (const index of chosen.indexes) {
    const { hmac } = preparedFor(keyring, 'index', { version: keyring.current(index.key), slot: index.slot });
    for (const item of items)
      for (const parent of objectsOf(item, index.name, index.path)) {
        const value = makeIndex({ ciphers, hmac }, index, { item, parent });
        if (value !== undefined) pending.push({ item, parent, member: index.member, value });
      }
  }
  return pending;
}

/** @returns undefined where there is none, or the document is refused */
function makeIndex(
  { ciphers, hmac }: { ciphers: FieldCiphers; hmac: FieldHmac },
  index: Index,
  { item, parent }: { item: Item; parent: object },
): string | undefined {
  const name = index.parts[0]?.field.name ?? index.name;
  const parts = index.parts.map(({ member, normalize }) => ({
    value: Object.hasOwn(parent, member) ? (Reflect.get(parent, member) as unknown) : undefined,
    normalize,
  }));
  if (Object.hasOwn(parent, index.member)) refuse(item, 'member exists', name);
  if (parts.some(({ value }) => isSealedText(value))) refuse(item, 'sealed already', name);
  if (item.refused || parts.some(({ value }) => value === undefined || value === null)) return undefined;
  if (Array.isArray(parent)) {
    refuse(item, 'no object', name);
    return undefined;
  }
  try {
    return blindIndex(ciphers, hmac, { parts, bits: index.bits });
  } catch (error) {
    if (!(error instanceof FieldRefused)) throw error;
    refuse(item, error.reason, name);
    return undefined;
  }
}

export function writeIndexes(pending: readonly PendingIndex[]): void {
  for (const { item, parent, member, value } of pending)
    if (!item.refused) Reflect.set(parent, member, value);
}
