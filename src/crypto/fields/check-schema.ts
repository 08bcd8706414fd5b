import { alphabets } from './format-preserving.ts';
import { overlap, type Path, parsePath } from './paths.ts';
import type { FieldDefinition, FormatPreserving, IndexDefinition, SchemaDefinition } from './schema.ts';

/** One rule that a schema breaks. */
export interface SchemaFault {
  /** JSON Pointer into the definition. */
  readonly pointer: string;
  readonly detail: string;
}

/** What the types of ./schema.ts do not say. Every schema that breaks none can be used. */
export function checkSchema({ fields, indexes = [] }: SchemaDefinition): SchemaFault[] {
  const faults: SchemaFault[] = [];
  const fault = (pointer: string, detail: string) => void faults.push({ pointer, detail });
  const byName = new Map<string, { field: FieldDefinition; path: Path }>();
  /** What the schema reads or writes, and where it says so. */
  const taken: { path: Path; pointer: string }[] = [];

  function take(path: Path, pointer: string): void {
    if (path.includes('__proto__')) return fault(pointer, 'must not be __proto__');
    const other = taken.find((one) => overlap(one.path, path));
    if (other) fault(pointer, `overlaps with what ${other.pointer} names`);
    else taken.push({ path, pointer });
  }

  fields.forEach((field, index) => {
    const pointer = `/fields/${index}`;
    const path = parsePath(field.path);
    if (path === undefined) {
      fault(`${pointer}/path`, 'must be a JSON Pointer, or a JSONPath of names, indexes and wildcards');
      return;
    }
    if (byName.has(field.name)) fault(`${pointer}/name`, 'must not be the name of another field');
    byName.set(field.name, { field, path });
    take(path, `${pointer}/path`);
    if (field.treatment !== 'format-preserving') return;
    checkFormat(field, (member, detail) => fault(`${pointer}/${member}`, detail));
    if (field.versionMember === undefined) return;
    if (path.at(-1) === null) fault(`${pointer}/versionMember`, 'cannot stand beside a wildcard');
    else take(beside(path, field.versionMember), `${pointer}/versionMember`);
  });

  const names = new Set<string>();
  indexes.forEach((index, at) => {
    const pointer = `/indexes/${at}`;
    if (names.has(index.name) || byName.has(index.name))
      fault(`${pointer}/name`, 'must not be the name of another index or field');
    names.add(index.name);
    const path = indexPath(index, byName, (member, detail) => fault(`${pointer}/${member}`, detail));
    if (path) take(beside(path, index.member), `${pointer}/member`);
  });
  return faults;
}

/** Another member of the same object. */
function beside(path: Path, member: string): Path {
  return [...path.slice(0, -1), member];
}

type Fault = (member: string, detail: string) => void;

function checkFormat(field: FormatPreserving, fault: Fault): void {
  const { alphabet, symbols, separators = '', luhn = false, versionMember, keyVersion } = field;
  if ((alphabet === undefined) === (symbols === undefined)) fault('alphabet', 'either it or symbols');
  if (luhn && alphabet !== 'digits') fault('luhn', 'needs the alphabet digits');
  if ((versionMember === undefined) === (keyVersion === undefined))
    fault('versionMember', 'either it or keyVersion');
  const points = Array.from(symbols ?? alphabetOf(alphabet));
  if (new Set(points).size !== points.length) fault('symbols', 'must not hold a symbol twice');
  if (symbols !== undefined && (points.length < 2 || points.length > 256))
    fault('symbols', 'must have 2 to 256 symbols');
  if (!(symbols ?? '').isWellFormed() || !separators.isWellFormed())
    fault('symbols', 'must be valid Unicode');
  if (Array.from(separators).some((point) => points.includes(point)))
    fault('separators', 'must not be symbols of the alphabet');
}

export function alphabetOf(name: string | undefined): string {
  return name === undefined ? '' : alphabets[name as keyof typeof alphabets];
}

/** The path of its first field; undefined when its fields are not in one object. */
function indexPath(
  { fields }: IndexDefinition,
  byName: ReadonlyMap<string, { field: FieldDefinition; path: Path }>,
  fault: Fault,
): Path | undefined {
  let first: Path | undefined;
  fields.forEach(({ name }, at) => {
    const path = byName.get(name)?.path;
    const pointer = `fields/${at}/name`;
    if (path === undefined) return fault(pointer, 'must be the name of a field');
    if (path.at(-1) === null) return fault(pointer, 'must not end in a wildcard');
    first ??= path;
    const together =
      path.length === first.length && path.slice(0, -1).every((step, i) => step === first?.[i]);
    if (!together) fault(pointer, 'must be in the same object as the first field');
  });
  return first;
}
