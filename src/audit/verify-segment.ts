import { equalBytes } from '../core/bytes.ts';
import type { Prf } from '../crypto/kdf.ts';
import type { ExpectedHeads } from './expected.ts';
import { type AuditFiles, errorCode, reading } from './files.ts';
import { type Commit, groupMacInput, newline, parseLine, type SegmentHeader } from './format.ts';
import { linesForward } from './lines.ts';
import { endByRow, type SegmentRow } from './registry.ts';
import type { AuditProblem } from './report.ts';
import { type Position, type Start, type Walk, walkSegment } from './walk.ts';

export interface SegmentCheck {
  readonly files: AuditFiles;
  readonly path: string;
  readonly row: SegmentRow;
  /** Where the chain stands; undefined when the segment before could not be followed to its end. */
  readonly start: Start | undefined;
  /** The next segment's header, which says where this one ends. */
  readonly next: SegmentHeader | undefined;
  /** No other segment follows: the service may be writing it. */
  readonly newest: boolean;
  readonly mac: Prf | undefined;
  readonly expected: ExpectedHeads;
  readonly onBlock: (records: number) => void;
}

export interface SegmentResult {
  readonly problem: AuditProblem | undefined;
  /** The last group; undefined when it was not reached. */
  readonly end: Position | undefined;
  readonly records: number;
  readonly groups: number;
  readonly unsignedGroups: number;
  /** MACs that are there but could not be checked. */
  readonly uncheckedMacs: number;
  /** Bytes after the last commit line of the running segment. */
  readonly tailBytes: number;
  /** The last record a MAC of this segment covers, 0 for none. */
  readonly signedSequence: number;
}

/** Checks one segment from its first byte to its last, in bounded memory. */
export async function checkSegment(check: SegmentCheck): Promise<SegmentResult> {
  const { files, path, row, expected } = check;
  const { writer } = row;
  const macs = createMacCheck(check);
  /** Of the group that has no commit line yet: without one, recovery cuts it off. */
  let awaited: { sequence: number; head: Buffer }[] = [];
  const walk = walkSegment({
    writer,
    number: row.number,
    start: check.start,
    onRecord({ sequence }, head) {
      if (expected.awaits(writer, sequence)) awaited.push({ sequence, head });
    },
    onCommit(commit) {
      for (const { sequence, head } of awaited) expected.see(writer, sequence, head);
      awaited = [];
      macs.add(commit);
    },
  });
  let bytes = 0;
  let problem: AuditProblem | undefined;
  try {
    bytes = await reading(files, path, (reader) => reader.size());
    problem = (await followLines(check, walk, macs)) ?? checkEnd(check, walk, bytes);
  } catch (error) {
    const what = error instanceof RangeError ? error.message : `cannot be read (${errorCode(error)})`;
    problem = { file: row.file, line: walk.lines + 1, what };
  }
  return {
    problem,
    end: problem === undefined ? walk.committed : undefined,
    records: walk.records - walk.uncommitted,
    ...macs.counts(),
    tailBytes: check.newest ? Math.max(0, bytes - walk.committedBytes) : 0,
  };
}

async function followLines(
  check: SegmentCheck,
  walk: Walk,
  macs: MacCheck,
): Promise<AuditProblem | undefined> {
  const { files, path, row, next } = check;
  for await (const { lines } of linesForward(files, path, next?.previousBytes)) {
    for (const line of lines) {
      const what = walk.step(line);
      if (what !== undefined) return { file: row.file, line: walk.lines, offset: line.offset, what };
    }
    const wrong = await macs.settle();
    if (wrong !== undefined) return { file: row.file, what: wrong };
    check.onBlock(walk.records);
  }
  return undefined;
}

/** What can only be said at the end: the header against the registry, the end against what follows. */
function checkEnd({ row, next, newest }: SegmentCheck, walk: Walk, bytes: number): AuditProblem | undefined {
  const problem = (what: string) => ({ file: row.file, what });
  if (!walk.header) return problem('has no header');
  if (walk.header.createdAt !== row.created_at) return problem('was not created when the database says');
  const sealed = row.last_sequence !== null;
  const end = endByRow(row);
  if (sealed && walk.committed.sequence !== end.sequence) {
    return problem(`ends with record ${walk.committed.sequence}, was sealed after record ${end.sequence}`);
  }
  if (sealed && !walk.committed.head.equals(end.head))
    return problem('ends with another head than it was sealed with');
  if (!sealed && !newest) return problem('was never sealed although another follows');
  if (next) {
    const most = next.previousBytes + (next.previousTornBytes ?? 0);
    if (walk.committedBytes !== next.previousBytes)
      return problem('does not end where the next segment says');
    return bytes > most ? problem('holds more than the next segment says') : undefined;
  }
  return newest && sealed && bytes !== walk.committedBytes
    ? problem('holds more than it was sealed with')
    : undefined;
}

interface MacCheck {
  add(commit: Commit): void;
  /** @returns what is wrong with the MACs added since the last call */
  settle(): Promise<string | undefined>;
  counts(): { groups: number; unsignedGroups: number; uncheckedMacs: number; signedSequence: number };
}

const macsAtOnce = 64;

function createMacCheck({ mac, row }: SegmentCheck): MacCheck {
  let waiting: { sequence: number; head: string; mac: string }[] = [];
  const counts = { groups: 0, unsignedGroups: 0, uncheckedMacs: 0, signedSequence: 0 };

  async function wrong(prf: Prf, commit: { sequence: number; head: string; mac: string }): Promise<boolean> {
    try {
      const tag = await prf(groupMacInput(row.writer, commit.sequence, Buffer.from(commit.head, 'hex')));
      return !equalBytes(tag, Buffer.from(commit.mac, 'hex'));
    } catch {
      counts.uncheckedMacs += 1;
      return false;
    }
  }

  return {
    add(commit) {
      counts.groups += 1;
      if (commit.mac === null) {
        counts.unsignedGroups += 1;
        return;
      }
      counts.signedSequence = commit.sequence;
      if (mac) waiting.push({ ...commit, mac: commit.mac });
      else counts.uncheckedMacs += 1;
    },
    async settle() {
      const taken = waiting;
      waiting = [];
      if (!mac) return undefined;
      for (let at = 0; at < taken.length; at += macsAtOnce) {
        const some = taken.slice(at, at + macsAtOnce);
        const verdicts = await Promise.all(some.map((commit) => wrong(mac, commit)));
        const bad = some[verdicts.indexOf(true)];
        if (bad) return `the MAC over record ${bad.sequence} is wrong`;
      }
      return undefined;
    },
    counts: () => ({ ...counts }),
  };
}

/** A segment's header, read alone; undefined when there is none to read. */
export async function readHeader(files: AuditFiles, path: string): Promise<SegmentHeader | undefined> {
  const headerLimitBytes = 4096;
  try {
    const found = await reading(files, path, (reader) => reader.read(0, headerLimitBytes));
    const end = found.indexOf(newline);
    const line = end === -1 ? undefined : parseLine(found.subarray(0, end));
    return line?.kind === 'header' ? line.header : undefined;
  } catch {
    return undefined;
  }
}
