import { ServiceError } from '../core/errors.ts';
import type { Keys } from '../keys/keys.ts';
import type { KeyRow, KeyVersionRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import type { Coverage, CoverageEvidence } from './coverage.ts';

/** What is known of what depends on a version. */
export interface Dependence {
  readonly usesReserved: number;
  readonly lastUsedAt?: number;
  readonly coverage: CoverageEvidence | 'unknown';
  /** What its destruction would make unreadable, as far as the service can know. */
  readonly effect: 'nothing' | 'unknown' | 'unreadable';
}

export type FindDependence = (
  key: Pick<KeyRow, 'current_version_id' | 'updated_at'>,
  row: KeyVersionRow,
) => Promise<Dependence>;

/**
 * A version of an encryption key that never encrypted has nothing that depends on it: uses are counted durably before
 * they are made. Of every other, evidence says it, and of key pairs, MACs and signatures nothing does: others encrypt
 * to a public key, and the service does not see it.
 */
export function createFindDependence({
  keys,
  store,
  coverage,
}: {
  keys: Keys;
  store: Store;
  coverage: Coverage;
}): FindDependence {
  /** From when on nothing more was made by the version: what was found before may not be all. */
  async function quietSince(key: Parameters<FindDependence>[0], row: KeyVersionRow): Promise<number> {
    if (row.id === key.current_version_id) return key.updated_at;
    const next = await store.db
      .selectFrom('key_versions')
      .select('created_at')
      .where('key_id', '=', row.key_id)
      .where('ordinal', '=', row.ordinal + 1)
      .executeTakeFirst();
    return next?.created_at ?? Number.POSITIVE_INFINITY;
  }

  return async (key, row) => {
    const { usesReserved, lastUsedAt } = await keys.describeVersion(row);
    const ids = { namespaceId: row.namespace_id, keyId: row.key_id, versionId: row.id };
    const latest = await coverage.latest(ids);
    const evidence = latest !== 'unknown' && latest.at >= (await quietSince(key, row)) ? latest : 'unknown';
    const unused = row.usage === 'encrypt' && usesReserved === 0 && lastUsedAt === undefined;
    return {
      ...{ usesReserved, coverage: evidence },
      ...(lastUsedAt !== undefined && { lastUsedAt }),
      effect: unused ? 'nothing' : effectOf(evidence),
    };
  };
}

function effectOf(evidence: CoverageEvidence | 'unknown'): Dependence['effect'] {
  if (evidence === 'unknown') return 'unknown';
  return evidence.remaining === 0 ? 'nothing' : 'unreadable';
}

/** @returns why a version may not be destroyed without force; undefined where it may */
export function inUse(version: number, { effect, coverage }: Dependence): ServiceError | undefined {
  if (effect === 'nothing') return undefined;
  const why =
    coverage === 'unknown'
      ? 'it is not known what depends on it'
      : `${coverage.remaining} ciphertexts depend on it`;
  return new ServiceError(
    'key/version-in-use',
    `Version ${version} was used, and ${why}: rewrap what it encrypted to the current version and have the coverage ` +
      'reported, or force this with a reason.',
  );
}
