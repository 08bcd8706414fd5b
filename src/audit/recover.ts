import { join } from 'node:path';
import type { Store } from '../store/store.ts';
import { type AuditFiles, reading, type SegmentFile } from './files.ts';
import { type Commit, lineLimitBytes, newline, parseLine, parseSegmentFile, segmentFile } from './format.ts';
import { linesForward } from './lines.ts';
import type { AuditLogger } from './options.ts';
import { endByRow, type SegmentRow, segmentRows, startByRow } from './registry.ts';
import { holdsRecords, type SegmentsStart } from './segments.ts';
import type { GroupSigner } from './signer.ts';
import { unavailable } from './unavailable.ts';
import { beginning, type Position, type Walk, walkSegment } from './walk.ts';

export interface RecoverOptions {
  readonly directory: string;
  readonly writer: string;
  readonly store: Store;
  readonly files: AuditFiles;
  readonly sign: GroupSigner;
  readonly log: AuditLogger;
}

export type FindOptions = Pick<RecoverOptions, 'directory' | 'writer' | 'store' | 'files'>;

const keepEvidence =
  'restore it from a copy, or move it out of the log, keep it as evidence, and run `stathera audit accept-loss`.';

/**
 * Finds where the writer's log ends. The last segment is checked against its chain, its registration and,
 * when the HSM answers, its last MAC; what a crash left after its last commit line is cut off: nobody was
 * answered on the strength of it.
 * @throws audit/unavailable naming the file that is missing or altered, and what to do
 */
export async function recover(
  options: RecoverOptions,
): Promise<{ position: Position; start: SegmentsStart }> {
  const { directory, writer, store, files } = options;
  const rows = await segmentRows(store.db, writer);
  await checkFiles(options, rows, await files.list(directory));
  const last = rows.at(-1);
  if (!last) return { position: beginning, start: { number: 0, bytes: 0 } };
  if (last.loss_accepted_at !== null) {
    return { position: { ...endByRow(last), mac: null }, start: { number: last.number, bytes: 0 } };
  }
  const path = join(directory, last.file);
  const walk = await checkSegment(options, path, last);
  const start = { number: last.number, bytes: walk.committedBytes };
  if (last.last_sequence !== null) return { position: walk.committed, start };
  const file = await files.open(path);
  try {
    await cutTail(options, path, walk, file);
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
  const { committedBytes: bytes, between } = walk;
  const current = { file, path, number: last.number, firstSequence: last.first_sequence, bytes, between };
  return { position: walk.committed, start: { ...start, current } };
}

async function checkFiles(
  { directory, writer, files }: RecoverOptions,
  rows: readonly SegmentRow[],
  names: readonly string[],
): Promise<void> {
  const there = new Set(names);
  for (const row of rows) {
    if (row.loss_accepted_at !== null || there.has(row.file)) continue;
    throw missingSegment(join(directory, row.file));
  }
  const newest = rows.at(-1)?.number ?? 0;
  for (const name of names) {
    const found = parseSegmentFile(name);
    if (found?.writer !== writer || found.number <= newest) continue;
    const path = join(directory, name);
    // A crash between the file and its row leaves a header alone.
    if (name === segmentFile(writer, newest + 1) && !(await holdsRecords(files, path))) continue;
    throw unavailable(
      `The audit segment ${path} is unknown to the database, which is older than the log: restore the database ` +
        'that belongs to it, or move the file out of the directory and keep it as evidence.',
    );
  }
}

export function missingSegment(path: string) {
  return unavailable(
    `The audit segment ${path} is missing: restore the file, or run \`stathera audit accept-loss\` to go on without it.`,
  );
}

/** Walks the segment as far as it is whole, and proves that it ends where it must. */
async function checkSegment(options: RecoverOptions, path: string, row: SegmentRow): Promise<Walk> {
  let signed: Commit | undefined;
  const walk = walkSegment({
    writer: options.writer,
    number: row.number,
    start: startByRow(row),
    onCommit(commit) {
      if (commit.mac !== null) signed = commit;
    },
  });
  const problem = await walkFile(options, path, walk);
  if (!walk.header) throw altered(path, problem ?? 'it has no header');
  const sealedAt = row.last_sequence === null ? undefined : endByRow(row);
  if (sealedAt) {
    const size = await reading(options.files, path, (reader) => reader.size());
    const whole = walk.committed.sequence === sealedAt.sequence && walk.committed.head.equals(sealedAt.head);
    if (!whole || size !== walk.committedBytes)
      throw altered(path, problem ?? 'it does not end where it was sealed');
  }
  if (signed) await checkMac(options, path, signed);
  return walk;
}

async function walkFile({ files }: RecoverOptions, path: string, walk: Walk): Promise<string | undefined> {
  try {
    for await (const { lines } of linesForward(files, path)) {
      for (const line of lines) {
        const problem = walk.step(line);
        if (problem !== undefined) return problem;
      }
    }
    return undefined;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw unavailable(`The audit segment ${path} cannot be read.`, error);
  }
}

async function checkMac({ sign, log }: RecoverOptions, path: string, signed: Commit): Promise<void> {
  const expected = await sign(signed.sequence, Buffer.from(signed.head, 'hex'));
  if (expected === null) log('warn', 'audit.mac-unchecked', { file: path });
  else if (expected !== signed.mac) throw altered(path, `the MAC over record ${signed.sequence} is wrong`);
}

async function cutTail(
  { files, log }: RecoverOptions,
  path: string,
  walk: Walk,
  file: SegmentFile,
): Promise<void> {
  const size = await reading(files, path, (reader) => reader.size());
  const tailBytes = size - walk.committedBytes;
  if (tailBytes === 0) return;
  if (
    tailBytes > 2 * lineLimitBytes ||
    holdsGroup(await reading(files, path, (reader) => reader.read(walk.committedBytes, tailBytes)))
  ) {
    throw altered(path, `a group after record ${walk.committed.sequence} does not match the chain`);
  }
  await file.truncate(walk.committedBytes);
  log('warn', 'audit.torn-tail', { file: path, bytes: tailBytes, lastSequence: walk.committed.sequence });
}

/**
 * True when the tail is no torn write but a group somebody altered. A power failure may leave holes (NUL
 * bytes) before the commit line of a group that was never acknowledged; the log writes no NUL.
 */
function holdsGroup(tail: Buffer): boolean {
  if (tail.includes(0)) return false;
  for (let from = 0, at = tail.indexOf(newline); at !== -1; from = at + 1, at = tail.indexOf(newline, from)) {
    if (parseLine(tail.subarray(from, at))?.kind === 'commit') return true;
  }
  return false;
}

function altered(path: string, what: string) {
  return unavailable(`The audit segment ${path} was altered or damaged (${what}): ${keepEvidence}`);
}

/**
 * Which of the `wanted` ids have a committed record in the last two segments. A row of the outbox can be in
 * no older one: beginning a segment deletes the rows that were moved, in the same transaction.
 */
export async function findRecords(
  { directory, writer, store, files }: FindOptions,
  wanted: ReadonlySet<string>,
): Promise<string[]> {
  const rows = (await segmentRows(store.db, writer)).slice(-2).filter((row) => row.loss_accepted_at === null);
  const found: string[] = [];
  let end: number | undefined;
  for (const row of rows.toReversed()) {
    const path = join(directory, row.file);
    for await (const { lines } of linesForward(files, path, end)) {
      for (const { bytes } of lines) {
        const line = parseLine(bytes);
        if (line?.kind === 'record' && wanted.has(line.record.id)) found.push(line.record.id);
        // Beyond this the older segment holds what a failed write left.
        if (line?.kind === 'header') end = line.header.previousBytes;
      }
    }
  }
  return found;
}
