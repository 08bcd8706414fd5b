import { createHash } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { isServiceError } from '../core/errors.ts';
import type { Prf } from '../crypto/kdf.ts';
import type { Emit } from '../events/events.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { Lease, Leases } from '../jobs/leases.ts';
import { changedVersion, writeVersion } from '../keys/change.ts';
import { type Key, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import { isAllowed } from '../keys/transitions.ts';
import type { DestructionRow } from '../store/lifecycle-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyVersionRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import type { CoverageEvidence } from './coverage.ts';
import { type FindDependence, inUse } from './dependence.ts';
import { type DestructionFacts, signRecord } from './record.ts';
import { endedDestruction, type Reader, writeDestruction } from './rows.ts';
import { restored } from './schedule.ts';
import { lifecycleCaller } from './system.ts';
import { toldOf } from './told.ts';

/** Between two looks at a version that is due and may still be needed. */
const postponedMilliseconds = 86_400_000;
/** Read at a time. */
const pageRows = 64;

export interface Destruction {
  /** What is due, the longest due first. @param after the last one seen */
  due(after?: DestructionRow): Promise<DestructionRow[]>;
  /**
   * Destroys one version, in the transaction that keeps its record; or, where something was found meanwhile that
   * depends on it, looks again a day later. @throws lease/lost, key/conflict
   */
  destroy(row: DestructionRow, leases: Leases, lease: Lease): Promise<'ended' | 'postponed'>;
}

export function createDestruction({
  keys,
  store,
  rows,
  clock,
  hsm,
  reader,
  findDependence,
  mac,
  emit,
}: {
  keys: Keys;
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  hsm: Hsm;
  reader: Reader;
  findDependence: FindDependence;
  /** By the audit key. */
  mac: Prf;
  emit: Emit;
}): Destruction {
  async function requireCleared(key: Key, row: DestructionRow, version: KeyVersionRow): Promise<void> {
    // What was decided with a reason stands.
    if (row.reason !== null) return;
    const refusal = inUse(row.ordinal, await findDependence(await reader.key(key), version));
    if (refusal) throw refusal;
  }

  async function destroyNow(row: DestructionRow, leases: Leases, lease: Lease): Promise<void> {
    const caller = lifecycleCaller(row.namespace_id, row.id);
    await keys.use(caller, 'keys.destroy', row.key_id, async (key, operation) => {
      await rows.verify('version_destructions', row);
      operation.target({ ...targetOf(key), version: row.ordinal });
      const [version] = (await reader.versions(key, [row.ordinal])) as [KeyVersionRow];
      const at = clock.now();
      // Older software may have enabled it, and knows nothing of this row.
      const stands = isAllowed('destroy', version.state, 'destroyed');
      if (stands) await requireCleared(key, row, version);
      const record = stands ? await signRecord(mac, factsOf(key, row, version, at)) : undefined;
      const next = stands
        ? await changedVersion(rows, version, { state: 'destroyed', blob: new Uint8Array(0) })
        : undefined;
      const ended = record
        ? await endedDestruction(rows, row, {
            ...{ state: 'destroyed', ended_at: at, record: JSON.stringify(record) },
          })
        : await restored(rows, row, at);
      await operation.change(
        async (tx) => {
          await leases.fenced(tx, lease);
          if (next) await writeVersion(tx, version, next);
          await writeDestruction(tx, row, ended);
          if (record) await emit(tx, [toldOf('destruction.done', version, at, { destruction: row.id })]);
        },
        { touches: [version.id] },
      );
      await hsm.evict(version.id);
    });
  }

  async function postpone(row: DestructionRow): Promise<void> {
    const { mac: _, ...current } = row;
    const next = await rows.seal('version_destructions', {
      ...{ ...current, destroy_at: clock.now() + postponedMilliseconds, revision: row.revision + 1 },
    });
    await store.transaction((tx) => writeDestruction(tx, row, next));
  }

  return {
    async due(after) {
      const query = store.db
        .selectFrom('version_destructions')
        .selectAll()
        .where('state', '=', 'scheduled')
        .where('destroy_at', '<=', clock.now())
        .orderBy('destroy_at')
        .orderBy('id')
        .limit(pageRows);
      if (!after) return await query.execute();
      return await query
        .where(({ or, and, eb }) =>
          or([
            eb('destroy_at', '>', after.destroy_at),
            and([eb('destroy_at', '=', after.destroy_at), eb('id', '>', after.id)]),
          ]),
        )
        .execute();
    },

    async destroy(row, leases, lease) {
      try {
        await destroyNow(row, leases, lease);
        return 'ended';
      } catch (error) {
        if (!isServiceError(error, 'key/version-in-use')) throw error;
        await postpone(row);
        return 'postponed';
      }
    },
  };
}

function factsOf(key: Key, row: DestructionRow, version: KeyVersionRow, at: number): DestructionFacts {
  const coverage = row.coverage === null ? null : (JSON.parse(row.coverage) as CoverageEvidence);
  const time = (milliseconds: number) => new Date(milliseconds).toISOString();
  return {
    ...{ destructionId: row.id, namespaceId: row.namespace_id, keyId: key.id, keyName: key.name },
    ...{ versionId: version.id, version: version.ordinal, algorithm: version.algorithm },
    kekId: version.kek_id,
    wrappedKeySha256: createHash('sha256').update(version.blob).digest('hex'),
    requestedBy: row.requested_by,
    ...{ scheduledAt: time(row.scheduled_at), destroyAt: time(row.destroy_at), destroyedAt: time(at) },
    ...(coverage && {
      coverage: { found: coverage.found, remaining: coverage.remaining, report: coverage.report },
    }),
    ...(row.reason !== null && { forcedFor: row.reason }),
  };
}
