import type { AuditFiles, SegmentReader } from './files.ts';
import { lineLimitBytes, newline } from './format.ts';

/** One line of a file, without its newline. */
export interface RawLine {
  readonly bytes: Buffer;
  /** Where it starts in the file. */
  readonly offset: number;
}

const blockBytes = 256 * 1024;

/**
 * Reads a file's lines from its beginning, some at a time and in bounded memory.
 * @param end reads no further than this offset
 * @yields complete lines; `rest` counts the bytes read after the last of them
 * @throws RangeError for a line over the limit, and the system's errors
 */
export async function* linesForward(
  files: Pick<AuditFiles, 'read'>,
  path: string,
  end = Infinity,
): AsyncGenerator<{ lines: RawLine[]; rest: number }> {
  const reader = await files.read(path);
  try {
    let carry: Buffer = Buffer.alloc(0);
    let position = 0;
    for (;;) {
      const wanted = Math.min(blockBytes, end - position);
      const block = wanted > 0 ? await reader.read(position, wanted) : Buffer.alloc(0);
      if (block.length === 0) return;
      const start = position - carry.length;
      position += block.length;
      const data = carry.length === 0 ? block : Buffer.concat([carry, block]);
      const { lines, used } = split(data, start);
      carry = data.subarray(used);
      if (carry.length > lineLimitBytes) throw new RangeError('a line is longer than any the log writes');
      yield { lines, rest: carry.length };
    }
  } finally {
    await reader.close();
  }
}

/**
 * Reads a file's lines from `end` towards its beginning, some at a time, the last first.
 * @param end an offset at which a line starts, or the file's end; a last line without newline is given too
 * @param most bytes read at a time
 * @throws RangeError for a line over the limit, and the system's errors
 */
export async function* linesBackward(
  reader: SegmentReader,
  end: number,
  most: number = blockBytes,
): AsyncGenerator<RawLine[]> {
  let carry: Buffer = Buffer.alloc(0);
  let position = end;
  while (position > 0) {
    const wanted = Math.min(most, position);
    position -= wanted;
    const block = await reader.read(position, wanted);
    if (block.length !== wanted) throw new RangeError('a segment became shorter');
    const data = carry.length === 0 ? block : Buffer.concat([block, carry]);
    // What stands before the first newline began in an earlier block.
    const from = position === 0 ? 0 : data.indexOf(newline) + 1;
    if (position > 0 && from === 0) {
      carry = data;
      if (carry.length > lineLimitBytes) throw new RangeError('a line is longer than any the log writes');
      continue;
    }
    carry = data.subarray(0, from);
    const { lines, used } = split(data.subarray(from), position + from);
    const last = data.subarray(from + used);
    if (last.length > 0) lines.push({ bytes: last, offset: position + from + used });
    yield lines.toReversed();
  }
}

function split(data: Buffer, start: number): { lines: RawLine[]; used: number } {
  const lines: RawLine[] = [];
  let used = 0;
  for (let at = data.indexOf(newline); at !== -1; at = data.indexOf(newline, used)) {
    lines.push({ bytes: data.subarray(used, at), offset: start + used });
    used = at + 1;
  }
  return { lines, used };
}
