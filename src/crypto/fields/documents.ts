import type { Field, Schema } from './compile.ts';
import {
  count,
  type Item,
  type KeyNeed,
  preparedFor,
  put,
  slotsOf,
  type Tally,
  type Tools,
  valueOf,
} from './items.ts';
import type { Keyring } from './keyring.ts';
import { type OpenedSlot, readItems } from './opening.ts';
import { choose, type Kept, makeIndexes, sealItems, sealingNeeds, writeIndexes } from './sealing.ts';
import { viewOf } from './views.ts';

/** What is asked for, once its keys are there. The service and the client run the same. */
export interface Work<Result> {
  readonly needs: readonly KeyNeed[];
  /** @param keyring with all of `needs` that there are. Each document is refused by itself. */
  run(keyring: Keyring): Result;
}

/** Seals every field of the documents and writes the indexes. */
export function encryptItems(tools: Tools, items: readonly Item[]): Work<Tally> {
  const chosen = choose(tools, () => true);
  return {
    needs: sealingNeeds(chosen),
    run(keyring) {
      const pending = makeIndexes(tools, { chosen, keyring }, items);
      const tally = sealItems(tools, { chosen, keyring }, items);
      writeIndexes(pending);
      return tally;
    },
  };
}

/** Opens the fields whose key is allowed, and leaves the others as they are. */
export function decryptItems(
  tools: Tools,
  allowed: (key: string) => boolean,
  items: readonly Item[],
): Work<Tally> {
  const opening = readItems(tools, choose(tools, allowed), items);
  return { needs: opening.needs, run: (keyring) => opening.open(keyring) };
}

/** Shows the fields that have a view and whose key is allowed, and takes all indexes away. Others stay as they are. */
export function revealItems(
  tools: Tools,
  allowed: (key: string) => boolean,
  items: readonly Item[],
): Work<Tally> {
  const fields = choose(tools, allowed).fields.filter(({ view }) => view !== undefined);
  const opening = readItems(tools, { fields, indexes: tools.schema.indexes }, items);
  const hashes = fields.flatMap(({ key, hashSlot: slot }) =>
    slot ? [{ key, version: undefined, slot }] : [],
  );
  return {
    needs: [...opening.needs, ...hashes],
    run(keyring) {
      const tally = opening.open(keyring);
      for (const field of fields) show(tools, field, { keyring, tally, items });
      return tally;
    },
  };
}

function show(
  { ciphers }: Tools,
  field: Field,
  { keyring, tally, items }: { keyring: Keyring; tally: Tally; items: readonly Item[] },
): void {
  const { view, key, hashSlot: slot, treatment } = field;
  if (view === undefined) return;
  const hmac = slot && preparedFor(keyring, 'hash', { version: keyring.current(key), slot }).hmac;
  for (const place of slotsOf(field, items)) {
    put(place, viewOf(ciphers, view, valueOf(place), hmac));
    if (treatment.kind === 'none') count(tally, field);
  }
}

/**
 * Opens the fields whose key is allowed and seals them again with the keys of now, and as another version of the schema
 * says where that is another. What is sealed by the key of now already stays as it is; indexes are made anew.
 */
export function rewrapItems(
  { ciphers, schema: to }: Tools,
  { from, allowed }: { from: Schema; allowed: (key: string) => boolean },
  items: readonly Item[],
): Work<Tally> {
  const tools = { ciphers, schema: to };
  const chosen = choose(tools, allowed);
  const opening = readItems({ ciphers, schema: from }, choose({ schema: from }, allowed), items);
  return {
    needs: [...opening.needs, ...sealingNeeds(chosen)],
    run(keyring) {
      const opened: OpenedSlot[] = [];
      opening.open(keyring, (one) => opened.push(one));
      const pending = makeIndexes(tools, { chosen, keyring }, items);
      const kept = from === to ? keepCurrent(opened, keyring) : undefined;
      const tally = sealItems(tools, { chosen, keyring, ...(kept && { kept }) }, items);
      writeIndexes(pending);
      return tally;
    },
  };
}

function keepCurrent(opened: readonly OpenedSlot[], keyring: Keyring): Kept {
  const kept: Kept = new Map();
  for (const { field, slot, version, before } of opened) {
    const { treatment, key } = field;
    const format = treatment.kind === 'format' ? treatment : undefined;
    if (version.ordinal !== (format?.keyVersion ?? keyring.current(key).ordinal)) continue;
    put(slot, before);
    if (format?.versionMember !== undefined) Reflect.set(slot.parent, format.versionMember, version.ordinal);
    const names = kept.get(slot.parent) ?? new Set();
    kept.set(slot.parent, names.add(slot.name));
  }
  return kept;
}
