import type { FieldCiphers } from './ciphers.ts';
import type { Field } from './compile.ts';
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
import type { Keyring, KeySlot, KeyVersion } from './keyring.ts';
import { type KnownHeaders, readSealed } from './sealed-text.ts';
import type { Chosen } from './sealing.ts';
import { decodeValue } from './values.ts';

const nonceBytes = 12;
const tagBytes = 16;
const none = new Uint8Array();

/** Documents whose sealed values were read: which keys they need, and then what opens them. */
export interface Opening {
  readonly needs: readonly KeyNeed[];
  /**
   * Opens the values in place, and takes away the indexes and versions beside them. Each document is refused by itself,
   * and all for one reason.
   * @param onOpened told each value that was opened
   */
  open(keyring: Keyring, onOpened?: (opened: OpenedSlot) => void): Tally;
}

/** A value that was opened, and what it was. */
export interface OpenedSlot {
  readonly field: Field;
  readonly slot: Slot;
  readonly version: KeyVersion;
  readonly before: unknown;
}

/** A value to be opened. */
interface Closed {
  readonly slot: Slot;
  readonly before: unknown;
  /** Undefined for a format. */
  readonly body: Uint8Array | undefined;
}

/** Values of one field and one version. */
interface Group {
  readonly field: Field;
  readonly keySlot: KeySlot;
  readonly version: string | number;
  readonly closed: Closed[];
}

export function readItems({ ciphers }: Tools, chosen: Chosen, items: readonly Item[]): Opening {
  const known: KnownHeaders = new Map();
  const groups = chosen.fields.flatMap((field) => readField({ ciphers, known }, field, items));
  return {
    needs: groups.map(({ field, version, keySlot }) => ({ key: field.key, version, slot: keySlot })),
    open(keyring, onOpened) {
      const tally: Tally = new Map();
      for (const group of groups) {
        const { field } = group;
        const version = keyring.version(field.key, group.version);
        if (version === undefined) {
          for (const { slot } of group.closed) refuse(slot.item, 'not sealed', field.name);
          continue;
        }
        const live = group.closed.filter(({ slot }) => !slot.item.refused);
        openGroup(group, { live, version, keyring });
        let opened = 0;
        for (const { slot, before } of live) {
          if (slot.item.refused) continue;
          opened += 1;
          onOpened?.({ field, slot, version, before });
        }
        count(tally, field, opened);
        takeVersionsAway(field, live);
      }
      takeIndexesAway(chosen, items);
      return tally;
    },
  };
}

function readField(
  { ciphers, known }: { ciphers: FieldCiphers; known: KnownHeaders },
  field: Field,
  items: readonly Item[],
): Group[] {
  const { treatment } = field;
  if (treatment.kind === 'none') return [];
  const groups = new Map<string | number, Group>();
  for (const slot of slotsOf(field, items)) {
    const before = valueOf(slot);
    const sealed = treatment.kind === 'format' ? undefined : readSealed(ciphers, before, known);
    const version =
      treatment.kind === 'format'
        ? formatVersion(treatment, slot, before)
        : sealed?.sealing === treatment.kind
          ? sealed.versionId
          : undefined;
    if (version === undefined) {
      refuse(slot.item, 'not sealed', field.name);
      continue;
    }
    const group = groups.get(version) ?? { field, keySlot: treatment.slot, version, closed: [] };
    groups.set(version, group);
    group.closed.push({ slot, before, body: sealed?.body });
  }
  return [...groups.values()];
}

/** Beside the value, or in the schema; undefined where there is none, or no value of a format. */
function formatVersion(
  { versionMember, keyVersion }: Field['treatment'] & { readonly kind: 'format' },
  { parent }: Slot,
  value: unknown,
): number | undefined {
  if (typeof value !== 'string') return undefined;
  if (versionMember === undefined) return keyVersion;
  const version: unknown = Object.hasOwn(parent, versionMember)
    ? Reflect.get(parent, versionMember)
    : undefined;
  return Number.isSafeInteger(version) ? (version as number) : undefined;
}

function openGroup(
  { field, keySlot: slot }: Group,
  { live, version, keyring }: { live: readonly Closed[]; version: KeyVersion; keyring: Keyring },
): void {
  const { treatment } = field;
  switch (treatment.kind) {
    case 'randomized': {
      const { aead, aadOf } = preparedFor(keyring, 'randomized', { version, slot });
      for (const one of live) {
        const body = one.body ?? none;
        const whole = body.length >= nonceBytes + tagBytes;
        const aad = aadOf(one.slot.item.record);
        const plaintext = whole && aead.open(body.subarray(0, nonceBytes), body.subarray(nonceBytes), aad);
        settle(field, one, plaintext || undefined);
      }
      return;
    }
    case 'deterministic': {
      const { place } = preparedFor(keyring, 'deterministic', { version, slot });
      const plaintexts = place.open(live.map(({ body }) => body ?? none));
      live.forEach((one, index) => settle(field, one, plaintexts[index]));
      return;
    }
    case 'format': {
      const { ff1 } = preparedFor(keyring, 'format', { version, slot });
      const results = treatment.cipher.decrypt(
        ff1,
        live.map(({ before }) => String(before)),
      );
      live.forEach((one, index) => {
        const result = results[index];
        if (typeof result === 'string') put(one.slot, result);
        else refuse(one.slot.item, 'not sealed', field.name);
      });
      return;
    }
    case 'none':
  }
}

function settle({ name }: Field, { slot }: Closed, plaintext: Uint8Array | undefined): void {
  const value = plaintext && decodeValue(plaintext);
  plaintext?.fill(0);
  if (value === undefined) refuse(slot.item, 'not sealed', name);
  else put(slot, value[0]);
}

function takeVersionsAway({ treatment }: Field, live: readonly Closed[]): void {
  if (treatment.kind !== 'format' || treatment.versionMember === undefined) return;
  for (const { slot } of live) Reflect.deleteProperty(slot.parent, treatment.versionMember);
}

/** @param chosen indexes of fields that were all opened */
function takeIndexesAway({ indexes }: Pick<Chosen, 'indexes'>, items: readonly Item[]): void {
  for (const { name, path, member } of indexes)
    for (const item of items)
      for (const parent of objectsOf(item, name, path))
        if (!Array.isArray(parent)) Reflect.deleteProperty(parent, member);
}
