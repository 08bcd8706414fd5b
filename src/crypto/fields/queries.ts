import { blindIndex } from './blind-index.ts';
import type { Field, Index } from './compile.ts';
import type { Work } from './documents.ts';
import { preparedFor, type Tools } from './items.ts';
import type { Keyring, KeyVersion } from './keyring.ts';
import { FieldRefused } from './refusals.ts';
import { writeSealed } from './sealed-text.ts';
import { encodeValue } from './values.ts';

/** What a value is found by: it stands in the documents that were sealed by this version. */
export interface QueryToken {
  /** Ordinal of the key's version. */
  readonly version: number;
  readonly token: string;
}

/** What is searched: an index, or a field that seals equal values alike. */
export type Searchable =
  | { readonly kind: 'index'; readonly index: Index }
  | { readonly kind: 'field'; readonly field: Field };

/** @returns undefined for a name that the schema does not have, or whose values are not found by anything */
export function searchable({ schema }: Pick<Tools, 'schema'>, name: string): Searchable | undefined {
  const index = schema.indexes.find((one) => one.name === name);
  if (index) return { kind: 'index', index };
  const field = schema.fields.find((one) => one.name === name);
  const kind = field?.treatment.kind;
  return field && (kind === 'deterministic' || kind === 'format') ? { kind: 'field', field } : undefined;
}

export function keyOf(what: Searchable): string {
  return what.kind === 'index' ? what.index.key : what.field.key;
}

/** The version that the schema names for all values; undefined where each has its own. */
export function pinnedVersion(what: Searchable): number | undefined {
  if (what.kind === 'index' || what.field.treatment.kind !== 'format') return undefined;
  return what.field.treatment.keyVersion;
}

/**
 * One token a version: during a migration documents of several are there, and are searched for by all of them.
 * @param values by the names of the fields
 * @returns work that throws FieldRefused for a value that is never sealed there
 */
export function queryTokens(
  tools: Tools,
  what: Searchable,
  { values, versions }: { values: ReadonlyMap<string, unknown>; versions: readonly KeyVersion[] },
): Work<QueryToken[]> {
  const key = keyOf(what);
  const slot = what.kind === 'index' ? what.index.slot : slotOf(what.field);
  const pinned = pinnedVersion(what);
  const searched = pinned === undefined ? versions : versions.filter(({ ordinal }) => ordinal === pinned);
  return {
    needs: searched.map(({ id }) => ({ key, version: id, slot })),
    run: (keyring) =>
      searched.map((version) => ({
        version: version.ordinal,
        token:
          what.kind === 'index'
            ? indexToken(tools, what.index, { keyring, version, values })
            : fieldToken(tools, what.field, { keyring, version, value: values.get(what.field.name) }),
      })),
  };
}

function slotOf({ treatment }: Field) {
  if (treatment.kind === 'none') throw new TypeError('the field is not sealed');
  return treatment.slot;
}

function indexToken(
  { ciphers }: Tools,
  { slot, bits, parts: named }: Index,
  {
    keyring,
    version,
    values,
  }: { keyring: Keyring; version: KeyVersion; values: ReadonlyMap<string, unknown> },
): string {
  const { hmac } = preparedFor(keyring, 'index', { version, slot });
  const parts = named.map(({ field, normalize }) => ({ value: values.get(field.name) ?? null, normalize }));
  // A null has no index.
  const empty = parts.findIndex(({ value }) => value === null);
  if (empty >= 0) throw new FieldRefused('no scalar', named[empty]?.field.name);
  return blindIndex(ciphers, hmac, { parts, bits });
}

function fieldToken(
  { ciphers }: Tools,
  { name, treatment }: Field,
  { keyring, version, value }: { keyring: Keyring; version: KeyVersion; value: unknown },
): string {
  if (treatment.kind === 'deterministic') {
    const { place, header } = preparedFor(keyring, 'deterministic', { version, slot: treatment.slot });
    const [sealed] = place.seal([encodeValue(value)]);
    return writeSealed(ciphers, header, sealed as Uint8Array);
  }
  if (treatment.kind !== 'format') throw new TypeError('the field has no tokens');
  if (typeof value !== 'string') throw new FieldRefused('no text', name);
  const { ff1 } = preparedFor(keyring, 'format', { version, slot: treatment.slot });
  const [token] = treatment.cipher.encrypt(ff1, [value]);
  if (typeof token !== 'string') throw token ?? new FieldRefused('no text', name);
  return token;
}
