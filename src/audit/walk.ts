import {
  type Commit,
  chainHead,
  genesisHead,
  noLine,
  parseLine,
  type SegmentHeader,
  type StoredRecord,
  toHex,
} from './format.ts';
import type { RawLine } from './lines.ts';

/** The end of a writer's log as one group commit left it. */
export interface Position {
  /** The last record's; 0 before the first. */
  readonly sequence: number;
  readonly head: Buffer;
  /** The MAC of the commit line, null when there is none. */
  readonly mac: string | null;
}

/** Where a segment starts; the MAC is undefined when nobody knows it any more. */
export type Start = Omit<Position, 'mac'> & { readonly mac?: string | null | undefined };

export const beginning: Position = { sequence: 0, head: genesisHead, mac: null };

/** What the walk of one segment found so far. */
export interface Walk {
  readonly header: SegmentHeader | undefined;
  /** The last commit line's position, or where the segment starts. */
  readonly committed: Position;
  /** Where the last commit line (or the header) ends. */
  readonly committedBytes: number;
  /** The last commit line (or the header): the next record covers it. */
  readonly between: Buffer;
  /** Records after the last commit line. */
  readonly uncommitted: number;
  readonly records: number;
  readonly lines: number;
  /**
   * Takes the next line.
   * @returns what is wrong with it, if anything; the walk must end then
   */
  step(line: RawLine): string | undefined;
}

export interface WalkOptions {
  readonly writer: string;
  readonly number: number;
  /** Where the chain stands before this segment; undefined when that is lost and the header has to be believed. */
  readonly start: Start | undefined;
  readonly onRecord?: (record: StoredRecord, head: Buffer) => void;
  readonly onCommit?: (commit: Commit) => void;
}

/** Checks a segment line by line: header, sequence, chain and commit lines. MACs are the caller's. */
export function walkSegment({ writer, number, start, onRecord, onCommit }: WalkOptions): Walk {
  let header: SegmentHeader | undefined;
  let committed: Position = { ...(start ?? beginning), mac: start?.mac ?? null };
  let [committedBytes, uncommitted, records, lines] = [0, 0, 0, 0];
  let { sequence, head } = committed;
  let [lastLine, between] = [noLine, noLine];

  function takeHeader(found: SegmentHeader): string | undefined {
    if (found.writer !== writer || found.number !== number) return 'the header belongs to another segment';
    const stated = positionBefore(found);
    if (start && stated.sequence !== start.sequence) return `starts at record ${found.firstSequence}`;
    if (start && !stated.head.equals(start.head)) return 'the header does not continue the chain';
    if (start?.mac !== undefined && stated.mac !== start.mac)
      return 'the header names another MAC of the last group';
    header = found;
    committed = stated;
    ({ sequence, head } = stated);
    return undefined;
  }

  function takeRecord(record: StoredRecord, bytes: Buffer): string | undefined {
    if (record.sequence !== sequence + 1) return `record ${record.sequence} follows record ${sequence}`;
    sequence = record.sequence;
    head = chainHead({
      writer,
      sequence,
      head,
      between: uncommitted === 0 ? lastLine : noLine,
      record: bytes,
    });
    uncommitted += 1;
    records += 1;
    onRecord?.(record, head);
    return undefined;
  }

  function takeCommit(commit: Commit): string | undefined {
    if (uncommitted === 0) return 'a commit line without records';
    if (commit.sequence !== sequence) return `commits record ${commit.sequence} after record ${sequence}`;
    if (commit.head !== toHex(head)) return 'the chain is broken: a record of this group was altered';
    committed = { sequence, head, mac: commit.mac };
    uncommitted = 0;
    onCommit?.(commit);
    return undefined;
  }

  function take(raw: RawLine): string | undefined {
    const line = parseLine(raw.bytes);
    if (!line) return 'not a line of the log';
    if (!header && line.kind !== 'header') return 'no header';
    if (line.kind === 'record') return takeRecord(line.record, raw.bytes);
    if (header && line.kind === 'header') return 'a second header';
    const problem = line.kind === 'header' ? takeHeader(line.header) : takeCommit(line.commit);
    if (problem !== undefined) return problem;
    lastLine = between = Buffer.from(raw.bytes);
    committedBytes = raw.offset + raw.bytes.length + 1;
    return undefined;
  }

  return {
    get header() {
      return header;
    },
    get committed() {
      return committed;
    },
    get committedBytes() {
      return committedBytes;
    },
    get between() {
      return between;
    },
    get uncommitted() {
      return uncommitted;
    },
    get records() {
      return records;
    },
    get lines() {
      return lines;
    },
    step(line) {
      lines += 1;
      return take(line);
    },
  };
}

/** Where the chain stood, by a segment's own header, before its first record. */
function positionBefore(header: SegmentHeader): Position {
  return {
    sequence: header.firstSequence - 1,
    head: Buffer.from(header.previousHead, 'hex'),
    mac: header.previousMac,
  };
}
