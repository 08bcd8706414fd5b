import { ServiceError } from '../../core/errors.ts';
import type { ContributionRow, DatasetEpochRow } from '../../store/dataset-rows.ts';
import type { RowAuthenticator } from '../../store/rows.ts';
import type { Store } from '../../store/store.ts';

/** Rows of contributions read, and authenticated, in one go. */
const contributionsPage = 256;
/** Ciphertexts read in one go: 2 MiB. */
const ciphertextsPage = 16;

/** An epoch's contributions, each authenticated, in the order of their ids. */
export async function contributionsOf(
  { store, rows }: { readonly store: Store; readonly rows: RowAuthenticator },
  { id: epochId }: Pick<DatasetEpochRow, 'id'>,
  signal: AbortSignal,
): Promise<ContributionRow[]> {
  const all: ContributionRow[] = [];
  for (;;) {
    signal.throwIfAborted();
    const page = await store.db
      .selectFrom('contributions')
      .selectAll()
      .where('epoch_id', '=', epochId)
      .where('id', '>', all.at(-1)?.id ?? '')
      .orderBy('id')
      .limit(contributionsPage)
      .execute();
    await Promise.all(page.map((row) => rows.verify('contributions', row)));
    all.push(...page);
    if (page.length < contributionsPage) return all;
  }
}

/**
 * One ciphertext of each contribution, in their order. Whether it is the one that was contributed is not asked here:
 * who adds it compares its digest.
 * @throws internal where one is missing
 */
export async function* residuesOf(
  store: Store,
  { id: epochId }: Pick<DatasetEpochRow, 'id'>,
  place: number,
  contributions: readonly Pick<ContributionRow, 'id'>[],
): AsyncGenerator<Uint8Array, void, void> {
  for (let start = 0; start < contributions.length; start += ciphertextsPage) {
    const ids = contributions.slice(start, start + ciphertextsPage).map(({ id }) => id);
    const found = await store.db
      .selectFrom('contribution_ciphertexts')
      .select(['contribution_id', 'residues'])
      .where('epoch_id', '=', epochId)
      .where('place', '=', place)
      .where('contribution_id', 'in', ids)
      .orderBy('contribution_id')
      .execute();
    for (const [index, id] of ids.entries()) {
      const row = found[index];
      if (row?.contribution_id !== id) throw missing();
      yield row.residues;
    }
  }
}

function missing(): ServiceError {
  return new ServiceError('internal', 'A stored record is missing.', {
    cause: new Error('a ciphertext of a contribution is missing'),
  });
}
