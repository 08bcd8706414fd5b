import { type ExpressionBuilder, sql } from 'kysely';
import type { Principal } from '../access/caller.ts';
import { ServiceError } from '../core/errors.ts';
import { cutPage, idAfter, invalidCursor, type Page, type PageRequest } from '../core/page.ts';
import type { ImportWrapping } from '../crypto/import-wrapping.ts';
import type { Algorithm } from '../crypto/suites.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyRow, KeyUsageRow, KeyVersionRow, Schema } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import {
  type Key,
  type KeyUsageView,
  type KeyVersionView,
  type KeyView,
  keyNotFound,
  keyView,
} from './key.ts';
import type { Usage } from './usage.ts';

type KeyInUse = Pick<KeyRow, 'id' | 'current_version_id'>;

/** Reads keys and versions from the store for people: every row shown is authenticated first. */
export function createKeyListing({
  store,
  rows,
  usage,
}: {
  store: Store;
  rows: RowAuthenticator;
  usage: Usage;
}) {
  /** The latest use of any version of each key, from the store and from memory. */
  async function lastUsed(keys: readonly KeyInUse[]): Promise<Map<string, number | undefined>> {
    if (keys.length === 0) return new Map();
    const stored = await store.db
      .selectFrom('key_usage')
      .innerJoin('key_versions', 'key_versions.id', 'key_usage.version_id')
      .where(
        'key_versions.key_id',
        'in',
        keys.map((key) => key.id),
      )
      .groupBy('key_versions.key_id')
      .select((select) => ['key_versions.key_id', select.fn.max('key_usage.last_used_at').as('last')])
      .execute();
    const byKey = new Map(stored.map((row) => [row.key_id, row.last]));
    return new Map(
      keys.map((key) => [key.id, latest(byKey.get(key.id), usage.lastUsed(key.current_version_id))]),
    );
  }

  function versionView(
    row: Omit<KeyVersionRow, 'mac'>,
    reserved: number,
    stored: number | null,
  ): KeyVersionView {
    const lastUsedAt = latest(stored, usage.lastUsed(row.id));
    return {
      id: row.id,
      version: row.ordinal,
      algorithm: row.algorithm as Algorithm,
      protection: row.protection,
      state: row.state,
      origin: (row.origin as ImportWrapping | null) ?? 'hsm',
      createdAt: row.created_at,
      ...(row.expires_at !== null && { expiresAt: row.expires_at }),
      ...(lastUsedAt !== undefined && { lastUsedAt }),
      usesReserved: reserved,
    };
  }

  return {
    lastUsed,

    async keys(principal: Principal, { limit, cursor }: PageRequest): Promise<Page<KeyView>> {
      const query = store.db
        .selectFrom('keys')
        .selectAll()
        .where('namespace_id', '=', principal.namespaceId)
        .where(visibleTo(principal))
        .where('id', '>', idAfter(cursor))
        .orderBy('id')
        .limit(limit + 1);
      const { rows: page, next } = cutPage(await query.execute(), limit, (row) => row.id);
      await Promise.all(page.map((row) => rows.verify('keys', row)));
      const used = await lastUsed(page);
      const items = page.map((row) => keyView(row, used.get(row.id)));
      return { items, ...next };
    },

    async describe(keyId: string): Promise<KeyView> {
      const row: KeyRow | undefined = await store.db
        .selectFrom('keys')
        .selectAll()
        .where('id', '=', keyId)
        .executeTakeFirst();
      if (!row) throw keyNotFound();
      await rows.verify('keys', row);
      return keyView(row, (await lastUsed([row])).get(keyId));
    },

    /** Of the current version; `lastUsedAt` of any. */
    async usageOf(key: Key): Promise<KeyUsageView> {
      const row = key.currentOrdinal === 0 ? undefined : await counterOf(key.currentVersionId);
      const used = { id: key.id, current_version_id: key.currentVersionId };
      const lastUsedAt = (await lastUsed([used])).get(key.id);
      const { rotateAfter, suite } = key;
      return {
        ...{ keyId: key.id, currentVersion: key.currentOrdinal, usesReserved: row?.reserved ?? 0 },
        ...(rotateAfter?.bytes !== undefined && { bytesReserved: row?.reserved_bytes ?? 0 }),
        ...(rotateAfter && { rotateAfter }),
        ...('refuseAfterUses' in suite && { usesLimit: suite.refuseAfterUses }),
        ...(lastUsedAt !== undefined && { lastUsedAt }),
      };
    },

    /** Newest first; the cursor is the last ordinal shown. */
    async versions(keyId: string, { limit, cursor }: PageRequest): Promise<Page<KeyVersionView>> {
      const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : Number(cursor);
      if (!Number.isSafeInteger(before)) throw invalidCursor();
      const found = await store.db
        .selectFrom('key_versions')
        .selectAll()
        .where('key_id', '=', keyId)
        .where('ordinal', '<', before)
        .orderBy('ordinal', 'desc')
        .limit(limit + 1)
        .execute();
      const { rows: page, next } = cutPage(found, limit, (row) => String(row.ordinal));
      const items = await Promise.all(
        page.map(async (row) => {
          await rows.verify('key_versions', row);
          return await describeVersion(row);
        }),
      );
      return { items, ...next };
    },

    /** @throws key/not-found when the key has no such version */
    async versionRow(keyId: string, ordinal: number): Promise<KeyVersionRow> {
      const row = await store.db
        .selectFrom('key_versions')
        .selectAll()
        .where('key_id', '=', keyId)
        .where('ordinal', '=', ordinal)
        .executeTakeFirst();
      if (!row) throw keyNotFound();
      await rows.verify('key_versions', row);
      return row;
    },

    describeVersion,
  };

  async function describeVersion(row: Omit<KeyVersionRow, 'mac'>): Promise<KeyVersionView> {
    const counter = await counterOf(row.id);
    return versionView(row, counter.reserved, counter.last_used_at);
  }

  async function counterOf(versionId: string): Promise<KeyUsageRow> {
    const counter = await store.db
      .selectFrom('key_usage')
      .selectAll()
      .where('version_id', '=', versionId)
      .executeTakeFirst();
    if (!counter) {
      throw new ServiceError('internal', 'A stored record is missing.', {
        cause: new Error('usage row missing'),
      });
    }
    await rows.verify('key_usage', counter);
    return counter;
  }
}

/** The keys that a principal's patterns let it see, for the `where` of a query over `keys`. */
export function visibleTo({ keyPatterns }: Principal) {
  return (where: ExpressionBuilder<Schema, 'keys'>) => {
    if (keyPatterns === undefined) return where.lit(true);
    return where.or(
      keyPatterns.map((pattern) =>
        pattern.endsWith('*')
          ? startsWith(pattern.slice(0, -1))
          : where.or([where('name', '=', pattern), where('id', '=', pattern)]),
      ),
    );
  };
}

/** `_` may stand in a name and means any character to LIKE, so it is escaped. */
function startsWith(prefix: string) {
  const pattern = `${prefix.replaceAll('_', '\\_')}%`;
  return sql<boolean>`name like ${pattern} escape '\\'`;
}

function latest(stored: number | null | undefined, inMemory: number | undefined): number | undefined {
  const newest = Math.max(stored ?? 0, inMemory ?? 0);
  return newest === 0 ? undefined : newest;
}
