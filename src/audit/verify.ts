import { join } from 'node:path';
import type { Prf } from '../crypto/kdf.ts';
import type { Store } from '../store/store.ts';
import type { AuditHead } from './audit.ts';
import { createExpectedHeads, type ExpectedHeads } from './expected.ts';
import { parseSegmentFile, segmentFile, toHex } from './format.ts';
import { localPlace } from './local-place.ts';
import { countOutbox, isAuthentic, outboxRows } from './outbox-rows.ts';
import { type LogPlace, listSegments } from './place.ts';
import { placeOf } from './place-of.ts';
import { endByRow, type SegmentRow, segmentRows, startByRow } from './registry.ts';
import { createReport, type ReportBuilder, type VerifyReport } from './report.ts';
import { holdsRecords } from './segments.ts';
import { checkSegment, readHeader, type SegmentResult } from './verify-segment.ts';
import { beginning, type Start } from './walk.ts';

export interface VerifyOptions {
  readonly directory: string;
  /** Read only is enough. */
  readonly store: Store;
  /** Files that were exported: segments that are not sealed yet may be missing. By default where the service has them. */
  readonly exported?: string;
  /** HMAC under the audit key; without it the chain is checked, the MACs are not. */
  readonly mac?: Prf;
  /** Heads exported earlier: what proves that nothing was cut off. */
  readonly expect?: readonly AuditHead[];
  readonly onProgress?: (done: { segments: number; records: number }) => void;
}

/**
 * Checks every segment of every writer from the first byte to the last, in bounded memory, against each
 * other and the database. It writes nothing and takes no lock: it may run beside the service.
 * @throws audit/unavailable when the directory cannot be read, store/unavailable
 */
export async function verifyAudit(given: VerifyOptions): Promise<VerifyReport> {
  const options: Check = {
    ...given,
    place: given.exported === undefined ? placeOf(given) : localPlace(given.exported),
  };
  const { place, store } = options;
  const report = createReport();
  const expected = createExpectedHeads(options.expect ?? []);
  // The files first: each has its row by the time the rows are read, except one that is just being made.
  const names = new Set(await listSegments(place));
  const rows = await segmentRows(store.db);
  for (const [writer, own] of Map.groupBy(rows, (row) => row.writer)) {
    await checkWriter(options, { writer, rows: own, names, report, expected });
  }
  await checkUnregistered(options, names, rows, report);
  await checkOutbox(options, report);
  for (const { writer, what } of expected.unmet()) report.problem({ file: writer, what });
  return report.finish(await countOutbox(store.db));
}

/** With the token: rows that wait for the log and were not put there by the service. */
async function checkOutbox({ store, mac }: VerifyOptions, report: ReportBuilder): Promise<void> {
  if (!mac) return;
  for (let after = ''; ; ) {
    const rows = await outboxRows(store.db, { after, limit: 100 });
    for (const { id, row } of rows) {
      if (row && (await isAuthentic(mac, row))) continue;
      report.problem({ file: 'audit_outbox', what: `the row ${id} was not written by the service` });
    }
    const last = rows.at(-1);
    if (!last) return;
    after = last.id;
  }
}

type Check = VerifyOptions & { readonly place: LogPlace };

interface WriterCheck {
  readonly writer: string;
  readonly rows: readonly SegmentRow[];
  readonly names: ReadonlySet<string>;
  readonly report: ReportBuilder;
  readonly expected: ExpectedHeads;
}

async function checkWriter(options: Check, check: WriterCheck): Promise<void> {
  const { writer, rows, names, report } = check;
  let start: Start | undefined = beginning;
  let signedSequence = 0;
  let uncheckedMacs = 0;
  for (const [index, row] of rows.entries()) {
    checkRow(row, index, start, report);
    if (options.exported !== undefined && row.last_sequence === null && !names.has(row.file)) {
      report.unchecked(`${row.file}: not exported, for it has no end yet`);
      continue;
    }
    if (row.loss_accepted_at !== null || !names.has(row.file)) {
      report.loss(lossOf(row));
      start = endByRow(row);
      continue;
    }
    const result = await checkFile(options, check, index, start ?? startByRow(row));
    start = addResult(report, row, result);
    signedSequence = Math.max(signedSequence, result.signedSequence);
    uncheckedMacs += result.uncheckedMacs;
  }
  const sequence = start?.sequence ?? 0;
  if (start) report.head({ writer, sequence, head: toHex(start.head) });
  if (uncheckedMacs > 0) {
    report.unchecked(`${writer}: ${uncheckedMacs} MACs, which need the token: the chain alone was followed`);
  }
  if (signedSequence < sequence) {
    report.unchecked(`${writer}: records ${signedSequence + 1} to ${sequence} are not covered by a MAC yet`);
  }
}

/** The registry against itself and against the chain so far. */
function checkRow(row: SegmentRow, index: number, start: Start | undefined, report: ReportBuilder): void {
  const problem = (what: string) => report.problem({ file: row.file, what });
  if (row.number !== index + 1) problem(`is registered as segment ${row.number} where ${index + 1} was due`);
  if (row.file !== segmentFile(row.writer, row.number)) problem('is registered under another name');
  if (!start) return;
  const stated = startByRow(row);
  if (stated.sequence !== start.sequence || !stated.head.equals(start.head)) {
    problem('is registered with a start that does not continue the segment before');
  }
}

async function checkFile(
  { place: { directory, files }, exported, mac, onProgress }: Check,
  { rows, report, expected }: WriterCheck,
  index: number,
  start: Start,
): Promise<SegmentResult> {
  const row = rows[index] as SegmentRow;
  const following = rows[index + 1];
  const next = following && (await readHeader(files, join(directory, following.file)));
  const { segments, records: before } = report.counts;
  const check = {
    files,
    path: join(directory, row.file),
    ...{ row, start, mac, expected },
    // A header of another segment, or one after a loss, says nothing of this file.
    next: next?.writer === row.writer && next.number === row.number + 1 ? next : undefined,
    newest: !following || (exported !== undefined && following.last_sequence === null),
    onBlock: (records: number) => onProgress?.({ segments, records: before + records }),
  };
  const result = await checkSegment(check);
  // The service may have cut off a failed group while it was being read.
  const again = result.problem !== undefined && !following && row.last_sequence === null;
  return again ? checkSegment(check) : result;
}

/** @returns where the chain stands after the segment */
function addResult(report: ReportBuilder, row: SegmentRow, result: SegmentResult): Start | undefined {
  report.counts.segments += 1;
  report.counts.records += result.records;
  report.counts.groups += result.groups;
  report.counts.unsignedGroups += result.unsignedGroups;
  if (result.problem) {
    report.problem(result.problem);
    return row.last_sequence === null ? undefined : endByRow(row);
  }
  if (result.tailBytes > 0) {
    report.unchecked(
      `${row.file}: ${result.tailBytes} bytes after the last commit line, a group that is being written or was torn`,
    );
  }
  return result.end;
}

function lossOf(row: SegmentRow) {
  const { writer, file, last_sequence: lastSequence, loss_accepted_at: acceptedAt } = row;
  return { writer, file, firstSequence: row.first_sequence, lastSequence, acceptedAt };
}

async function checkUnregistered(
  { place: { directory, files }, store }: Check,
  names: ReadonlySet<string>,
  rows: readonly SegmentRow[],
  report: ReportBuilder,
): Promise<void> {
  const registered = new Set(rows.map(({ file }) => file));
  for (const name of names) {
    if (!parseSegmentFile(name) || registered.has(name)) continue;
    const records = await holdsRecords(files, join(directory, name)).catch(() => false);
    if (!records) {
      report.unchecked(`${name}: not registered, holds no record: being created, or left by a crash`);
    } else if (!(await segmentRows(store.db)).some(({ file }) => file === name)) {
      report.problem({ file: name, what: 'holds records but is unknown to the database' });
    }
  }
}
