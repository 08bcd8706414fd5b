import { createHash } from 'node:crypto';
import { equalBytes } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import type { ResidueAdder } from '../crypto/homomorphic/kernel.ts';
import type { ContributionRow } from '../store/dataset-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';

/** Contributions read in one go. */
const rowsPage = 500;
/** Ciphertexts read in one go, 2 MiB: memory is theirs, however many are added. */
const ciphertextsPage = 16;
const digestBytes = 32;

/** The contributions of an epoch, in the order of their ids, authenticated. */
export async function* contributionsOf(
  { store, rows }: { readonly store: Store; readonly rows: RowAuthenticator },
  epochId: string,
): AsyncGenerator<ContributionRow, void, void> {
  for (let after = ''; ; ) {
    const page = await store.db
      .selectFrom('contributions')
      .selectAll()
      .where('epoch_id', '=', epochId)
      .where('id', '>', after)
      .orderBy('id')
      .limit(rowsPage)
      .execute();
    await Promise.all(page.map((row) => rows.verify('contributions', row)));
    yield* page;
    if (page.length < rowsPage) return;
    after = page.at(-1)?.id ?? after;
  }
}

/** What is added up. */
export interface SumRequest {
  readonly epochId: string;
  /** Which ciphertext of each contribution. */
  readonly place: number;
  /** Authenticated, in the order of their ids: these and no others are added. */
  readonly contributions: readonly Pick<ContributionRow, 'id' | 'ciphertext_digests'>[];
  readonly signal?: AbortSignal | undefined;
  /** Told how many are added, now and then. */
  readonly onProgress?: ((added: number) => void) | undefined;
}

/**
 * Adds up one ciphertext of each contribution, as they come out of the store: each is the one that its contribution's
 * row has the digest of, and none is missing.
 * @param adder with room for a page, at its beginning
 * @returns the sum's residues
 * @throws internal when what is stored is not what was contributed; the signal's reason
 */
export async function sumCiphertexts(
  { store, adder }: { readonly store: Store; readonly adder: ResidueAdder },
  { epochId, place, contributions, signal, onProgress }: SumRequest,
): Promise<Uint8Array> {
  const residueBytes = adder.staging.length / ciphertextsPage;
  for (let start = 0; start < contributions.length; start += ciphertextsPage) {
    signal?.throwIfAborted();
    const page = contributions.slice(start, start + ciphertextsPage);
    const found = await store.db
      .selectFrom('contribution_ciphertexts')
      .select(['contribution_id', 'residues'])
      .where('epoch_id', '=', epochId)
      .where('place', '=', place)
      .where(
        'contribution_id',
        'in',
        page.map(({ id }) => id),
      )
      .orderBy('contribution_id')
      .execute();
    for (const [index, { id, ciphertext_digests: digests }] of page.entries()) {
      const row = found[index];
      const digest = digests.subarray(place * digestBytes, (place + 1) * digestBytes);
      if (row?.contribution_id !== id || row.residues.length !== residueBytes) throw altered();
      if (!equalBytes(createHash('sha256').update(row.residues).digest(), digest)) throw altered();
      adder.staging.set(row.residues, index * residueBytes);
    }
    adder.addStaged(page.length);
    onProgress?.(start + page.length);
  }
  return adder.total();
}

/** Room that an adder for `sumCiphertexts` has. */
export const stagedCiphertexts = ciphertextsPage;

function altered(): ServiceError {
  return new ServiceError('internal', 'A stored record failed its authentication.', {
    cause: Object.assign(new Error('a row was altered outside the service'), {
      code: 'altered-row/contribution_ciphertexts',
    }),
  });
}
