import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JournalRecord } from './shim.ts';

/** An inode as the disk has it. */
interface Node {
  /** What of a file is on disk; empty until it was synced. */
  content: Buffer;
  /** What of a directory is on disk. */
  entries: Map<string, Node>;
  isDirectory: boolean;
}

/** Decides for one thing that was written and not synced whether it reached the disk. */
export type Chance = () => boolean;

/** The disk below a folder. The folder itself is there whatever happens. */
export interface Disk {
  /** Takes in what the processes made durable. */
  replay(records: readonly JournalRecord[]): void;
  /**
   * The power fails, after the processes died: the folder holds afterwards what was synced, and of the rest
   * what chance leaves, file by file, sector by sector, name by name.
   */
  fail(chance: Chance): void;
}

const sectorBytes = 512;

/** A disk on which all that stands in the folder now is durable. */
export function createDisk(folder: string): Disk {
  const inodes = new Map<number, Node>();
  let root = takeIn(folder, inodes);

  function nodeOf(inode: number, isDirectory: boolean): Node {
    const known = inodes.get(inode);
    if (known) return known;
    const node = { content: Buffer.alloc(0), entries: new Map<string, Node>(), isDirectory };
    inodes.set(inode, node);
    return node;
  }

  function take({ kind, inode, offset, payload }: JournalRecord): void {
    if (kind === 'born') inodes.delete(inode);
    else if (kind === 'file') nodeOf(inode, false).content = payload;
    else if (kind === 'range') {
      const node = nodeOf(inode, false);
      const content = Buffer.alloc(Math.max(node.content.length, offset + payload.length));
      node.content.copy(content);
      payload.copy(content, offset);
      node.content = content;
    } else if (kind === 'listing') nodeOf(inode, true).entries = listing(payload, nodeOf);
  }

  return {
    replay(records) {
      records.forEach(take);
    },
    fail(chance) {
      const image = mixed({
        node: root,
        chance,
        live: folder,
        livePaths: pathsBelow(folder, nodeOf),
        nodeOf,
      });
      for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
      write(folder, image);
      inodes.clear();
      root = takeIn(folder, inodes);
    },
  };
}

function listing(payload: Buffer, nodeOf: (inode: number, isDirectory: boolean) => Node): Map<string, Node> {
  const entries = new Map<string, Node>();
  for (let at = 0; at < payload.length; ) {
    const nameEnd = at + 11 + payload.readUInt16LE(at + 9);
    const name = payload.toString('utf8', at + 11, nameEnd);
    entries.set(name, nodeOf(Number(payload.readBigUInt64LE(at)), payload[at + 8] === 1));
    at = nameEnd;
  }
  return entries;
}

function takeIn(path: string, inodes: Map<number, Node>): Node {
  const stats = statSync(path);
  const known = inodes.get(stats.ino);
  if (known) return known;
  const node: Node = { content: Buffer.alloc(0), entries: new Map(), isDirectory: stats.isDirectory() };
  inodes.set(stats.ino, node);
  if (!node.isDirectory) node.content = readFileSync(path);
  else for (const name of readdirSync(path)) node.entries.set(name, takeIn(join(path, name), inodes));
  return node;
}

type Image = { readonly content: Buffer } | { readonly entries: Map<string, Image> };

interface Mixing {
  readonly node: Node;
  readonly chance: Chance;
  /** Where the page cache has it, if it has a name there. */
  readonly live: string | undefined;
  readonly livePaths: ReadonlyMap<Node, string>;
  readonly nodeOf: (inode: number, isDirectory: boolean) => Node;
}

function pathsBelow(folder: string, nodeOf: Mixing['nodeOf']): Map<Node, string> {
  const paths = new Map<Node, string>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    paths.set(nodeOf(statSync(path).ino, entry.isDirectory()), path);
  }
  return paths;
}

/** Between what is durable and what the page cache held, by chance. */
function mixed(mixing: Mixing): Image {
  const { node, chance, live, livePaths, nodeOf } = mixing;
  if (!node.isDirectory) return { content: mixedContent(node.content, live, chance) };
  const there = new Map(
    live === undefined
      ? []
      : readdirSync(live, { withFileTypes: true }).map((entry) => [
          entry.name,
          nodeOf(statSync(join(live, entry.name)).ino, entry.isDirectory()),
        ]),
  );
  const entries = new Map<string, Image>();
  for (const name of new Set([...node.entries.keys(), ...there.keys()])) {
    const [durable, now] = [node.entries.get(name), there.get(name)];
    const chosen = durable === now || !chance() ? durable : now;
    if (chosen) entries.set(name, mixed({ ...mixing, node: chosen, live: livePaths.get(chosen) }));
  }
  return { entries };
}

function mixedContent(durable: Buffer, live: string | undefined, chance: Chance): Buffer {
  const now = live === undefined ? durable : readFileSync(live);
  if (now.equals(durable)) return durable;
  const content = Buffer.alloc(chance() ? now.length : durable.length);
  durable.copy(content);
  for (let at = 0; at < content.length; at += sectorBytes) {
    if (chance()) now.subarray(at, at + sectorBytes).copy(content, at);
  }
  return content;
}

function write(path: string, image: Image): void {
  if ('content' in image) {
    writeFileSync(path, image.content, { mode: 0o600 });
    return;
  }
  mkdirSync(path, { recursive: true, mode: 0o700 });
  for (const [name, each] of image.entries) write(join(path, name), each);
}
