import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { formsOf, type Planted } from '../service/traces.ts';

/** How often each secret stands in the memory of a process, by `name form`; what does not is absent. */
export type Residues = ReadonlyMap<string, number>;

interface Region {
  readonly start: number;
  readonly end: number;
}

/** What a process can read of its own address space, but for the kernel's pages and files it cannot write. */
function regionsOf(pid: number): Region[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n');
  return lines.flatMap((line) => {
    const match = /^([0-9a-f]+)-([0-9a-f]+) r(.)(.). \S+ \S+ (\d+) *(.*)$/.exec(line);
    if (match === null || match[6]?.startsWith('[v') === true) return [];
    if (match[3] !== 'w' && match[5] !== '0') return [];
    return [{ start: Number(`0x${match[1]}`), end: Number(`0x${match[2]}`) }];
  });
}

/** As V8 stores it where a string has other characters, too. */
function wide(text: Buffer): Buffer {
  return Buffer.from(text.toString('latin1'), 'utf16le');
}

function needlesOf({ name, bytes }: Planted): { form: string; needle: Buffer }[] {
  return formsOf(bytes).flatMap(({ form, needle }) => {
    // At the other alignments are secrets that stand behind others: none here.
    if (form.endsWith(' at 1') || form.endsWith(' at 2') || form === 'list of numbers') return [];
    const label = `${name} ${form.replace(' at 0', '')}`;
    if (form === 'raw') return [{ form: label, needle }];
    return [
      { form: label, needle },
      { form: `${label} wide`, needle: wide(needle) },
    ];
  });
}

const windowBytes = 256 * 1024;
// A window repeats the beginning of the next one, for what stands across the border.
const overlapBytes = 16 * 1024;

/**
 * Searches the whole memory of a process while it runs.
 * @param secrets of 16 bytes to 4 KiB each
 * @throws EPERM, EACCES where the system does not let one process read another's memory
 */
export async function residuesIn(pid: number, secrets: readonly Planted[]): Promise<Residues> {
  const search = searchFor(secrets.flatMap(needlesOf));
  const window = Buffer.allocUnsafeSlow(windowBytes + overlapBytes);
  const nothing = Buffer.alloc(window.length);
  const found = new Map<string, number>();
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const { start, end } of regionsOf(pid)) {
      // Connections of this process that were closed meanwhile are noticed.
      await turn();
      for (let at = start; at < end; at += windowBytes) {
        const length = readSome(memory, window, Math.min(window.length, end - at), at);
        // Most of what V8 reserves was never used.
        if (window.compare(nothing, 0, length, 0, length) === 0) continue;
        for (const form of search(window.subarray(0, length))) found.set(form, (found.get(form) ?? 0) + 1);
      }
    }
  } finally {
    window.fill(0);
    closeSync(memory);
  }
  return found;
}

/** Looks for all needles in one pass: by their first two bytes, then whole. */
function searchFor(needles: readonly { readonly form: string; readonly needle: Buffer }[]) {
  const starts = new Map<number, typeof needles>();
  const isStart = new Uint8Array(65_536);
  for (const each of needles) {
    const start = each.needle.readUInt16LE();
    isStart[start] = 1;
    starts.set(start, [...(starts.get(start) ?? []), each]);
  }
  return (view: Buffer): string[] => {
    const hits: string[] = [];
    let start = 0;
    for (let at = 0; at < view.length && at <= windowBytes; at++) {
      start = (start >> 8) | ((view[at] ?? 0) << 8);
      if (isStart[start] !== 1 || at === 0) continue;
      for (const { form, needle } of starts.get(start) ?? []) {
        if (
          view.compare(needle, 0, needle.length, at - 1, Math.min(at - 1 + needle.length, view.length)) === 0
        )
          hits.push(form);
      }
    }
    return hits;
  };
}

/** Bytes read; none where the region is gone meanwhile, or is not for reading after all. */
function readSome(file: number, into: Buffer, length: number, at: number): number {
  try {
    return readSync(file, into, 0, length, at);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EIO' || code === 'EFAULT') return 0;
    throw error;
  }
}
