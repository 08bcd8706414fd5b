/** Where fields are in a document: names of members and elements one inside the other; null stands for each of them. */
export type Path = readonly (string | null)[];

const pathLimit = { characters: 512, steps: 16, wildcards: 4 } as const;

/**
 * A JSON Pointer (RFC 6901) in which a step `*` stands for every member and element, or a JSONPath (RFC 9535) of names,
 * indexes and wildcards alone, as `$.orders[*].card`. A filter, a slice or `..` is refused: it looks at what is there,
 * and would find other places once they are sealed.
 * @returns undefined for what is none of these, or longer than `pathLimit`
 */
export function parsePath(text: string): Path | undefined {
  if (text.length > pathLimit.characters) return undefined;
  const steps = text.startsWith('/')
    ? parsePointer(text)
    : text.startsWith('$')
      ? parseJsonPath(text)
      : undefined;
  if (steps === undefined || steps.length === 0 || steps.length > pathLimit.steps) return undefined;
  if (steps.filter((step) => step === null).length > pathLimit.wildcards) return undefined;
  return steps.includes('__proto__') ? undefined : steps;
}

function parsePointer(text: string): (string | null)[] | undefined {
  // RFC 6901 §3: `~` begins an escape and nothing else.
  if (/~(?![01])/.test(text)) return undefined;
  return text
    .slice(1)
    .split('/')
    .map((step) => (step === '*' ? null : step.replaceAll('~1', '/').replaceAll('~0', '~')));
}

/** One step: `.name`, `.*`, `[*]`, `[0]`, `['name']` or `["name"]`. */
const segment =
  /(?:\.(?<name>[A-Za-z_\u0080-\u{10ffff}][\w\u0080-\u{10ffff}]*)|(?<wildcard>\.\*|\[\*\])|\[(?<index>0|[1-9]\d{0,8})\]|\['(?<single>[^'\\]*)'\]|\["(?<double>[^"\\]*)"\])/uy;

function parseJsonPath(text: string): (string | null)[] | undefined {
  const steps: (string | null)[] = [];
  for (segment.lastIndex = 1; segment.lastIndex < text.length; ) {
    const groups = segment.exec(text)?.groups;
    if (groups === undefined) return undefined;
    const { name, wildcard, index, single, double } = groups;
    steps.push(wildcard === undefined ? (name ?? index ?? single ?? double ?? '') : null);
  }
  return steps;
}

/** One text a path, however it was written. */
export function pathText(path: Path): string {
  return JSON.stringify(path);
}

/** Whether some document has a place of one in, or under, a place of the other. */
export function overlap(a: Path, b: Path): boolean {
  return a.slice(0, b.length).every((step, index) => step === null || b[index] === null || step === b[index]);
}

export type Container = Record<string, unknown> | unknown[];

/**
 * Tells each place of a document that a path leads to: a member or an element that is there. Nothing inherited is one.
 * @param limit of places and of what is walked on the way
 * @throws RangeError beyond it
 */
export function findPlaces(
  document: unknown,
  { path, limit }: { path: Path; limit: number },
  found: (parent: Container, name: string) => void,
): void {
  const last = path.at(-1) ?? null;
  let count = 0;
  for (const parent of parentsOf(document, path, limit)) {
    if (last !== null) {
      if (isThere(parent, last)) found(parent, last);
      continue;
    }
    const names = Object.keys(parent);
    count += names.length;
    if (count > limit) throw new RangeError('too many places');
    for (const name of names) found(parent, name);
  }
}

/** What the places that a path may have are in. @throws RangeError */
export function parentsOf(document: unknown, path: Path, limit: number): Container[] {
  let level = isContainer(document) ? [document] : [];
  for (const step of path.slice(0, -1)) {
    const next: Container[] = [];
    for (const container of level)
      for (const inside of step === null ? Object.values(container) : memberOf(container, step)) {
        if (isContainer(inside)) next.push(inside);
        if (next.length > limit) throw new RangeError('too many places');
      }
    level = next;
  }
  return level;
}

function memberOf(container: Container, step: string): unknown[] {
  return isThere(container, step) ? [Reflect.get(container, step)] : [];
}

const elementIndex = /^(?:0|[1-9]\d*)$/;

/** An array has members that are no elements: its length. */
function isThere(container: Container, step: string): boolean {
  return Object.hasOwn(container, step) && (!Array.isArray(container) || elementIndex.test(step));
}

function isContainer(value: unknown): value is Container {
  return typeof value === 'object' && value !== null;
}
