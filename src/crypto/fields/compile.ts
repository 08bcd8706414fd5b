import { alphabetOf } from './check-schema.ts';
import { createFormatCipher, type FormatCipher } from './format-preserving.ts';
import { type KeySlot, keySlot } from './keyring.ts';
import type { Normalizer } from './normalizers.ts';
import { type Path, parsePath, pathText } from './paths.ts';
import type { FieldDefinition, IndexDefinition, SchemaDefinition } from './schema.ts';
import type { View } from './views.ts';

/** A schema ready for documents. */
export interface Schema {
  readonly id: string;
  readonly fields: readonly Field[];
  readonly indexes: readonly Index[];
}

export interface Field {
  readonly name: string;
  /** Name of its key. */
  readonly key: string;
  readonly path: Path;
  readonly treatment: FieldTreatment;
  readonly view: View | undefined;
  /** Given where the view is a hash. */
  readonly hashSlot: KeySlot | undefined;
}

export type FieldTreatment =
  | { readonly kind: 'none' }
  | { readonly kind: 'randomized' | 'deterministic'; readonly slot: KeySlot }
  | {
      readonly kind: 'format';
      readonly slot: KeySlot;
      readonly cipher: FormatCipher;
      readonly versionMember: string | undefined;
      readonly keyVersion: number | undefined;
    };

export interface Index {
  readonly name: string;
  /** That of its first field: they rotate together. */
  readonly key: string;
  readonly member: string;
  readonly bits: number;
  readonly slot: KeySlot;
  /** Its own: beside its fields. */
  readonly path: Path;
  readonly parts: readonly { field: Field; member: string; normalize: readonly Normalizer[] }[];
}

/** @param definition one in which `checkSchema` finds no fault */
export function compileSchema(id: string, { key, fields, indexes = [] }: SchemaDefinition): Schema {
  const compiled = fields.map((field) => compileField(id, key, field));
  const byName = new Map(compiled.map((field) => [field.name, field]));
  return {
    id,
    fields: compiled,
    indexes: indexes.map((index) => compileIndex(id, index, byName)),
  };
}

function compileField(schemaId: string, schemaKey: string, definition: FieldDefinition): Field {
  const path = parsePath(definition.path);
  if (path === undefined) throw new TypeError('the schema was not checked');
  const own = ['path', schemaId, pathText(path)];
  return {
    name: definition.name,
    key: definition.key ?? schemaKey,
    path,
    treatment: compileTreatment(definition, own),
    view: definition.reveal,
    hashSlot: definition.reveal?.view === 'hash' ? keySlot('hash', own) : undefined,
  };
}

/** @param own names the field; a join group has its name in the place of it */
function compileTreatment(definition: FieldDefinition, own: readonly string[]): FieldTreatment {
  switch (definition.treatment) {
    case 'none':
      return { kind: 'none' };
    case 'randomized':
      return { kind: 'randomized', slot: keySlot('randomized', own) };
    case 'deterministic':
      return { kind: 'deterministic', slot: keySlot('deterministic', groupOr(own, definition.joinGroup)) };
    case 'format-preserving': {
      const { keepPrefix = 0, keepSuffix = 0, luhn = false, separators = '' } = definition;
      const symbols = definition.symbols ?? alphabetOf(definition.alphabet);
      const radix = Array.from(symbols).length;
      return {
        kind: 'format',
        slot: keySlot('format', groupOr(own, definition.joinGroup), radix),
        cipher: createFormatCipher({ symbols, separators, keepPrefix, keepSuffix, luhn }),
        versionMember: definition.versionMember,
        keyVersion: definition.keyVersion,
      };
    }
  }
}

function groupOr(own: readonly string[], joinGroup: string | undefined): readonly string[] {
  return joinGroup === undefined ? own : ['group', joinGroup];
}

function compileIndex(
  schemaId: string,
  { name, member, bits, fields }: IndexDefinition,
  byName: ReadonlyMap<string, Field>,
): Index {
  const parts = fields.map((part) => {
    const field = byName.get(part.name);
    const step = field?.path.at(-1);
    if (field === undefined || typeof step !== 'string') throw new TypeError('the schema was not checked');
    return { field, member: step, normalize: part.normalize ?? [] };
  });
  const [first] = parts;
  if (first === undefined) throw new TypeError('an index needs a field');
  return {
    ...{ name, member, bits, parts },
    key: first.field.key,
    slot: keySlot('index', ['index', schemaId, name]),
    path: [...first.field.path.slice(0, -1), member],
  };
}
