import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';

const projectRoot = dirname(dirname(import.meta.dirname));
/** Full sets of published vectors, too large for the repository; tests that need them are skipped without. */
const largeFolder = join(projectRoot, '..', 'shared', 'vectors');

/** Cases committed in test/vectors, each with its source. @throws Error for an empty file */
export function committedCases<Case>(name: string): Case[] {
  return nonEmpty<Case>(
    name,
    parse(readFileSync(join(projectRoot, 'test', 'vectors', `${name}.json`))),
    'cases',
  );
}

/**
 * The cases of a large set in the form of Wycheproof and ACVP, by group.
 * @param name path without .json or .json.gz
 * @returns nothing where the set is not at hand
 * @throws Error for an empty file or group
 */
export function largeSetGroups<Case>(name: string): Case[][] {
  return largeSets<object>(name).map((group) => nonEmpty<Case>(name, group, 'tests'));
}

/** The groups of a large set with all that they say of their cases. @throws as `largeSetGroups` */
export function largeSets<Group>(name: string): Group[] {
  const content = largeFile(name);
  if (content === undefined) return [];
  const groups = nonEmpty<Group>(name, content, 'testGroups');
  for (const group of groups) nonEmpty(name, group, 'tests');
  return groups;
}

/** A large set that is one list. @throws as `largeSetGroups` */
export function largeList<Case>(name: string): Case[] {
  const content = largeFile(name);
  return content === undefined ? [] : nonEmpty<Case>(name, { content }, 'content');
}

function largeFile(name: string): unknown {
  const file = [`${name}.json`, `${name}.json.gz`]
    .map((path) => join(largeFolder, path))
    .find((path) => existsSync(path));
  if (file === undefined) return undefined;
  const bytes = readFileSync(file);
  return parse(file.endsWith('.gz') ? gunzipSync(bytes) : bytes);
}

function parse(bytes: Buffer): unknown {
  return JSON.parse(bytes.toString('utf8'));
}

function nonEmpty<Item>(name: string, content: unknown, member: string): Item[] {
  const list: unknown =
    typeof content === 'object' && content !== null ? Reflect.get(content, member) : undefined;
  if (!Array.isArray(list) || list.length === 0) throw new Error(`${name} holds no ${member}`);
  return list as Item[];
}

export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

/** The groups as numbered rows for test.for; one row without cases, to be skipped, where there are none. */
export function numberedGroups<Case>(
  groups: readonly (readonly Case[])[],
): { index: number; cases: readonly Case[] }[] {
  const rows = groups.map((cases, index) => ({ index, cases }));
  return rows.length === 0 ? [{ index: 0, cases: [] }] : rows;
}
