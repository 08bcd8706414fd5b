import { table } from '../output.ts';
import type { Id } from './column.ts';
import type { Outcome } from './run.ts';
import { oldCounts } from './run.ts';
import { sum, type Tally } from './tally.ts';
import type { Versions } from './target.ts';

interface Place {
  readonly system: 'postgres' | 'sqlite';
  readonly database: string;
  readonly table: string;
  readonly column: string;
  readonly pointer?: string;
}

export interface DryRun {
  readonly place: Place;
  /** As it was asked for. */
  readonly key: string;
  readonly versions: Versions;
  readonly dryRun: true;
  readonly last: Tally;
}

type Done = Omit<DryRun, 'dryRun' | 'last'> & Outcome & { readonly dryRun: false };

interface VersionFindings {
  readonly version: number;
  readonly versionId: string;
  readonly found: number;
  readonly rewrapped: number;
  readonly failed: number;
  readonly remaining: number;
}

/** What is said in the end. */
export interface Findings {
  readonly key: string;
  readonly place: Place;
  readonly currentVersion: number;
  readonly dryRun: boolean;
  readonly rows: number;
  readonly nulls: number;
  readonly foreign: number;
  readonly unreadable: number;
  readonly versions: readonly VersionFindings[];
  readonly agreed: boolean;
  readonly complete: boolean;
  /** The first few. They stay here: ids may tell of people. */
  readonly unreadableIds: readonly Id[];
  readonly failedIds: readonly { readonly id: Id; readonly code: string }[];
  /** Of the report that the service keeps. */
  readonly report?: string;
}

export function findings(done: DryRun | Done): Findings {
  const { place, key, versions, last } = done;
  const rewrapped = done.dryRun ? new Map<string, number>() : done.rewrapped;
  const failed = done.dryRun ? last : done.failed;
  const ids = new Set([...last.found.keys(), ...rewrapped.keys()]);
  const found = [...ids].map((versionId) => {
    const remaining = last.found.get(versionId) ?? 0;
    const moved = rewrapped.get(versionId) ?? 0;
    return {
      ...{
        version: versions.known.get(versionId) ?? 0,
        versionId,
        found: moved + remaining,
        rewrapped: moved,
      },
      ...{ failed: Math.min(failed.failed.get(versionId) ?? 0, remaining), remaining },
    };
  });
  const agreed = !done.dryRun && done.agreed;
  // Ids of SQLite have their type in front.
  const named = (id: Id): Id => (place.system === 'sqlite' ? id.map((part) => part.slice(1)) : id);
  return {
    ...{ key, place, currentVersion: versions.current, dryRun: done.dryRun },
    ...{ rows: last.rows, nulls: last.nulls, foreign: last.foreign, unreadable: last.unreadable },
    versions: found.filter(({ version }) => version > 0).toSorted((a, b) => a.version - b.version),
    ...{ agreed, complete: agreed && sum(oldCounts(last.found, versions)) === 0 },
    unreadableIds: last.unreadableIds.map(named),
    failedIds: failed.failedIds.map(({ id, code }) => ({ id: named(id), code })),
  };
}

export function shown(found: Findings): string[] {
  const { place, key, currentVersion, dryRun, versions } = found;
  const where = `${place.table}.${place.column}${place.pointer ?? ''}`;
  return [
    `${where} of ${place.database}, key ${key}, current version ${currentVersion}`,
    ...table([
      ['version', 'found', 'rewrapped', 'failed', 'remaining'],
      ...versions.map((each) =>
        [each.version, each.found, each.rewrapped, each.failed, each.remaining].map(String),
      ),
    ]),
    `${found.rows} rows: ${found.nulls} null, ${found.foreign} of other keys, ${found.unreadable} unreadable`,
    ...(found.unreadableIds.length > 0
      ? [`unreadable: ${found.unreadableIds.map(idText).join(' · ')} …`]
      : []),
    ...found.failedIds.map(({ id, code }) => `failed: ${idText(id)}: ${code}`),
    dryRun ? 'Nothing was changed.' : verdict(found, where),
    ...(found.report === undefined ? [] : [`report ${found.report}`]),
  ];
}

function verdict({ agreed, complete, currentVersion }: Findings, where: string): string {
  if (complete)
    return `Two scans agree: nothing is left of versions before ${currentVersion} in ${where}. This says nothing of other columns, of files and of backups.`;
  return agreed
    ? `Two scans agree: older versions are still needed in ${where}.`
    : `Scans do not agree: ${where} is being changed. Run this again.`;
}

/** Without what terminals obey. */
function idText(id: Id): string {
  return id.map((part) => part.slice(0, 80).replaceAll(/[\p{C}\u2028\u2029]+/gu, ' ')).join(', ');
}
