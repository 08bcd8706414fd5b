import { createHash } from 'node:crypto';
import type { CoverageReportRow } from '../store/coverage-rows.ts';

/** Where ciphertexts were looked for: one column of one table. */
export interface Place {
  readonly system: string;
  /** Its name among others, without user and password. */
  readonly database: string;
  readonly table: string;
  readonly column: string;
  /** JSON Pointer, where the column holds JSON. */
  readonly pointer?: string | undefined;
}

/** Ciphertexts of one version. */
export interface VersionCounts {
  readonly version: number;
  readonly versionId: string;
  /** In all: rewrapped, and those that remain. */
  readonly found: number;
  readonly rewrapped: number;
  /** Tried, and not rewrapped. */
  readonly failed: number;
  /** Found by the last scan. */
  readonly remaining: number;
}

export interface Counts {
  /** Of the last scan. */
  readonly rows: number;
  readonly nulls: number;
  /** Ciphertexts of other keys: left alone. */
  readonly foreign: number;
  /** No ciphertexts, or of no version that is known. */
  readonly unreadable: number;
  readonly versions: readonly VersionCounts[];
}

export interface ReportView extends Counts {
  readonly id: string;
  readonly keyId: string;
  readonly place: Place;
  readonly currentVersion: number;
  readonly agreed: boolean;
  /** Two scans agreed that nothing is left of any version before the current one, in this place. */
  readonly complete: boolean;
  readonly reportedBy: string;
  /** Milliseconds. */
  readonly scanStartedAt: number;
  readonly createdAt: number;
}

/** Members in one order, so that one place has one text. */
export function placeText({ system, database, table, column, pointer }: Place): string {
  return JSON.stringify({ system, database, table, column, ...(pointer !== undefined && { pointer }) });
}

export function placeId(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export function reportView(row: Omit<CoverageReportRow, 'mac'>): ReportView {
  const counts = JSON.parse(row.counts) as Counts;
  const agreed = row.agreed === 1;
  const left = counts.versions.some(
    ({ version, remaining }) => version < row.current_ordinal && remaining > 0,
  );
  return {
    id: row.id,
    keyId: row.key_id,
    place: JSON.parse(row.place) as Place,
    currentVersion: row.current_ordinal,
    ...counts,
    ...{ agreed, complete: agreed && !left },
    reportedBy: (JSON.parse(row.reported_by) as { name: string }).name,
    scanStartedAt: row.scan_started_at,
    createdAt: row.created_at,
  };
}

/** What the latest reports of all places say of one version. */
export interface Evidence {
  readonly found: number;
  readonly remaining: number;
  /** When the oldest of their scans began: what was encrypted since, it does not know. Milliseconds. */
  readonly at: number;
  /** The id of the newest of them. */
  readonly report: string;
}

/** @param rows the latest report of each place. @returns unknown unless each of them speaks of the version */
export function evidenceOf(
  rows: readonly CoverageReportRow[],
  version: { readonly id: string; readonly ordinal: number },
): Evidence | 'unknown' {
  const [first] = rows;
  if (!first || rows.some((row) => row.agreed !== 1 || row.current_ordinal <= version.ordinal))
    return 'unknown';
  let [found, remaining, at, report] = [0, 0, first.scan_started_at, first.id];
  for (const row of rows) {
    const counts = (JSON.parse(row.counts) as Counts).versions.find(
      ({ versionId }) => versionId === version.id,
    );
    found += counts?.found ?? 0;
    remaining += counts?.remaining ?? 0;
    at = Math.min(at, row.scan_started_at);
    if (row.id > report) report = row.id;
  }
  return { found, remaining, at, report };
}
