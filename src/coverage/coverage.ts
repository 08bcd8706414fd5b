import type { Caller } from '../access/caller.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { cutPage, idAfter, type Page, type PageRequest } from '../core/page.ts';
import type { Emit } from '../events/events.ts';
import { type Key, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { CoverageReportRow } from '../store/coverage-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyVersionRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import {
  type Counts,
  type Evidence,
  evidenceOf,
  type Place,
  placeId,
  placeText,
  type ReportView,
  reportView,
} from './report.ts';

export interface ReportRequest extends Counts {
  readonly place: Place;
  /** The version that was current when the first of the agreeing scans began. */
  readonly currentVersion: number;
  readonly agreed: boolean;
  /** How long ago that was, by the clock of whoever scanned. */
  readonly scanSeconds: number;
}

/** Reports of where a key's ciphertexts are, kept as evidence of what depends on a version. See ./README.md. */
export interface Coverage {
  /** @throws key/not-found, request/invalid for versions that are none of the key, coverage/too-many */
  report(caller: Caller, key: string, request: ReportRequest): Promise<ReportView>;
  /** Newest first. @throws key/not-found */
  list(caller: Caller, key: string, page: PageRequest): Promise<Page<ReportView>>;
  /** What is known of a version, for whoever decides by it; the version need not be there any more. */
  latest(version: {
    readonly namespaceId: string;
    readonly keyId: string;
    readonly versionId: string;
  }): Promise<Evidence | 'unknown'>;
}

const placesLimit = 1_000;

export function createCoverage({
  store,
  rows,
  keys,
  clock,
  emit,
}: {
  store: Store;
  rows: RowAuthenticator;
  keys: Keys;
  clock: Clock;
  emit: Emit;
}): Coverage {
  /** The report itself says which versions it is about; what they are is the service's to know. */
  async function checkVersions(key: Key, request: ReportRequest): Promise<KeyVersionRow> {
    const asked = [request.currentVersion, ...request.versions.map(({ version }) => version)];
    const found = await versionRows(key.id, asked);
    const current = found.get(request.currentVersion);
    if (!current) throw invalid('/currentVersion', 'must be a version of the key');
    for (const [at, { version, versionId, found: count, remaining }] of request.versions.entries()) {
      if (found.get(version)?.id !== versionId)
        throw invalid(`/versions/${at}/versionId`, 'must be a version of the key, with its number');
      if (remaining > count) throw invalid(`/versions/${at}/remaining`, 'must not be more than found');
    }
    return current;
  }

  async function versionRows(
    keyId: string,
    ordinals: readonly number[],
  ): Promise<Map<number, KeyVersionRow>> {
    const all = [...new Set(ordinals)];
    const found: KeyVersionRow[] = [];
    // Databases bound the parameters of a statement.
    for (let from = 0; from < all.length; from += 500) {
      const some = all.slice(from, from + 500);
      const query = store.db.selectFrom('key_versions').selectAll().where('key_id', '=', keyId);
      found.push(...(await query.where('ordinal', 'in', some).execute()));
    }
    await Promise.all(found.map((row) => rows.verify('key_versions', row)));
    return new Map(found.map((row) => [row.ordinal, row]));
  }

  /** The latest report of each place. */
  async function latestReports(keyId: string): Promise<CoverageReportRow[]> {
    const found = await store.db
      .selectFrom('coverage_reports')
      .selectAll()
      .where('id', 'in', (query) =>
        query
          .selectFrom('coverage_reports')
          .select(({ fn }) => fn.max('id').as('newest'))
          .where('key_id', '=', keyId)
          .groupBy('place_id'),
      )
      .execute();
    await Promise.all(found.map((row) => rows.verify('coverage_reports', row)));
    return found;
  }

  async function requirePlace(keyId: string, id: string): Promise<void> {
    const places = await store.db
      .selectFrom('coverage_reports')
      .select('place_id')
      .distinct()
      .where('key_id', '=', keyId)
      .limit(placesLimit + 1)
      .execute();
    if (places.length < placesLimit || places.some(({ place_id }) => place_id === id)) return;
    throw new ServiceError('coverage/too-many', `A key may have ${placesLimit} places at most.`);
  }

  return {
    report: (caller, ref, request) =>
      keys.use(caller, 'coverage.report', ref, async (key, operation) => {
        const current = await checkVersions(key, request);
        operation.target({ ...targetOf(key), version: current.ordinal });
        const now = clock.now();
        const scanStartedAt = now - Math.ceil(request.scanSeconds * 1000);
        if (scanStartedAt < current.created_at)
          throw invalid('/scanSeconds', 'must be since the current version was made: scan again');
        const place = placeText(request.place);
        await requirePlace(key.id, placeId(place));
        const { rows: count, nulls, foreign, unreadable, versions } = request;
        const { kind, id, name } = caller.principal;
        const row = await rows.seal('coverage_reports', {
          id: newId(),
          namespace_id: key.namespaceId,
          key_id: key.id,
          place_id: placeId(place),
          place,
          current_version_id: current.id,
          current_ordinal: current.ordinal,
          counts: JSON.stringify({ rows: count, nulls, foreign, unreadable, versions }),
          agreed: request.agreed ? 1 : 0,
          scan_started_at: scanStartedAt,
          reported_by: JSON.stringify({ kind, id, name }),
          created_at: now,
        });
        return await operation.change(async (tx) => {
          await tx.insertInto('coverage_reports').values(row).execute();
          const view = reportView(row);
          if (view.complete) await emit(tx, [reached(view, key.namespaceId)]);
          return view;
        });
      }),

    list: (caller, ref, { limit, cursor }) =>
      keys.use(caller, 'coverage.list', ref, async (key) => {
        const before = cursor === undefined ? undefined : idAfter(cursor);
        let query = store.db.selectFrom('coverage_reports').selectAll().where('key_id', '=', key.id);
        if (before !== undefined) query = query.where('id', '<', before);
        const found = await query
          .orderBy('id', 'desc')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => row.id);
        await Promise.all(page.map((row) => rows.verify('coverage_reports', row)));
        return { items: page.map(reportView), ...next };
      }),

    async latest({ namespaceId, keyId, versionId }) {
      const version = await store.db
        .selectFrom('key_versions')
        .selectAll()
        .where('id', '=', versionId)
        .executeTakeFirst();
      if (version?.key_id !== keyId || version.namespace_id !== namespaceId) return 'unknown';
      await rows.verify('key_versions', version);
      return evidenceOf(await latestReports(keyId), version);
    },
  };
}

/** Of one place: others may lack. */
function reached({ id, keyId, currentVersion, createdAt }: ReportView, namespaceId: string) {
  const about = { type: 'coverage.reached' as const, namespaceId, keyId, at: createdAt };
  return { ...about, report: id, beforeVersion: currentVersion };
}

function invalid(pointer: string, detail: string): ServiceError {
  return new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
    errors: [{ pointer, detail }],
  });
}
