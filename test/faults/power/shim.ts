import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Moment = 'before' | 'after';

/** What a process did to the folder, in order. */
export interface JournalRecord {
  /** `file`, `range`, `listing` are durable now; `born`: a new inode; `none`: nothing durable; `killed`: died here. */
  readonly kind: 'file' | 'range' | 'listing' | 'born' | 'none' | 'killed';
  readonly step: number;
  readonly inode: number;
  readonly offset: number;
  /** The call and the path below the folder. */
  readonly label: string;
  readonly payload: Buffer;
}

export interface Shim {
  /** For processes whose durable steps below the folder are counted and journalled. */
  readonly env: Readonly<Record<string, string>>;
  /** Kills their process group at the step so many from now: 1 is the next. 0 disarms. */
  arm(step: number, moment: Moment): void;
  /** What is new since the last call. */
  journal(): JournalRecord[];
  close(): void;
}

const kinds: Record<string, JournalRecord['kind']> = {
  F: 'file',
  W: 'range',
  D: 'listing',
  B: 'born',
  N: 'none',
  K: 'killed',
};
const headBytes = 32;

/** @returns why there is no shim here, or undefined once `library` is compiled */
export function compileShim(library: string): string | undefined {
  if (process.platform !== 'linux') return 'needs LD_PRELOAD of Linux';
  const source = fileURLToPath(new URL('unsynced.c', import.meta.url));
  const options = ['-O1', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC'];
  const compiled = spawnSync('cc', [...options, '-o', library, source, '-ldl', '-lpthread'], {
    encoding: 'utf8',
  });
  if (compiled.error) return 'needs a C compiler';
  if (compiled.status !== 0) throw new Error(compiled.stderr);
  return undefined;
}

/**
 * @param folder all below it is watched
 * @param scratch a folder outside of it, for journal and control
 * @param lie syncs of paths that contain this are answered as done, and are not
 */
export function createShim({
  library,
  folder,
  scratch,
  lie,
}: {
  library: string;
  folder: string;
  scratch: string;
  lie?: string;
}): Shim {
  const [journalFile, controlFile] = [join(scratch, 'journal'), join(scratch, 'control')];
  const control = openSync(controlFile, 'w+');
  writeSync(control, Buffer.alloc(4096));
  const journal = openSync(journalFile, 'a+');
  let read = 0;
  const steps = () => {
    const count = Buffer.alloc(4);
    readSync(control, count, 0, 4, 0);
    return count.readUInt32LE();
  };
  return {
    env: {
      LD_PRELOAD: library,
      UNSYNCED_ROOT: folder,
      UNSYNCED_JOURNAL: journalFile,
      UNSYNCED_CONTROL: controlFile,
      ...(lie !== undefined && { UNSYNCED_LIE: lie }),
    },
    arm(step, moment) {
      const order = Buffer.alloc(8);
      order.writeUInt32LE(step === 0 ? 0 : steps() + step);
      order.writeUInt32LE(moment === 'before' ? 1 : 2, 4);
      writeSync(control, order, 0, 8, 4);
    },
    journal() {
      const bytes = Buffer.alloc(fstatSync(journal).size - read);
      readSync(journal, bytes, 0, bytes.length, read);
      const { records, parsedBytes } = parse(bytes);
      read += parsedBytes;
      return records;
    },
    close() {
      closeSync(control);
      closeSync(journal);
    },
  };
}

/** Without what is still being written, or was cut off by a kill. */
function parse(bytes: Buffer): { records: JournalRecord[]; parsedBytes: number } {
  const records: JournalRecord[] = [];
  let at = 0;
  while (at + headBytes <= bytes.length) {
    const kind = kinds[String.fromCharCode(bytes.readUInt32LE(at))];
    if (kind === undefined) throw new Error('the journal is damaged');
    const labelEnd = at + headBytes + bytes.readUInt32LE(at + 24);
    const end = labelEnd + bytes.readUInt32LE(at + 28);
    if (end > bytes.length) break;
    records.push({
      kind,
      step: bytes.readUInt32LE(at + 4),
      inode: Number(bytes.readBigUInt64LE(at + 8)),
      offset: Number(bytes.readBigUInt64LE(at + 16)),
      label: bytes.toString('utf8', at + headBytes, labelEnd),
      payload: bytes.subarray(labelEnd, end),
    });
    at = end;
  }
  return { records, parsedBytes: at };
}
