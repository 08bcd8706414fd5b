import { createHash } from 'node:crypto';
import { newId } from '../../core/ids.ts';
import type { DatasetQueryRow } from '../../store/query-rows.ts';
import type { RowAuthenticator } from '../../store/rows.ts';
import type { Store, StoreTransaction } from '../../store/store.ts';
import type { Dataset } from '../dataset.ts';
import { type Query, queryText } from './query.ts';

/** Queries as the store keeps them; everything that is read is authenticated. */
export interface QueryRows {
  find(id: string): Promise<DatasetQueryRow | undefined>;
  /** The analyst's own of the same form. */
  own(dataset: Pick<Dataset, 'id'>, analyst: string, query: Query): Promise<DatasetQueryRow | undefined>;
  /** The answer that anybody was given to a query of this form. */
  answered(dataset: Pick<Dataset, 'id'>, digest: Uint8Array): Promise<DatasetQueryRow | undefined>;
  /** The analyst's, oldest first. */
  page(
    dataset: Pick<Dataset, 'id'>,
    analyst: string,
    after: string,
    limit: number,
  ): Promise<DatasetQueryRow[]>;
  /** A new one, to be inserted with its job. */
  create(
    dataset: Pick<Dataset, 'id' | 'namespaceId'>,
    asked: { readonly analyst: string; readonly query: Query; readonly units: bigint; readonly now: number },
  ): Promise<Omit<DatasetQueryRow, 'job'>>;
  /** The row with an answer, to take the place of `before`. */
  answer(before: DatasetQueryRow, numbers: string, now: number): Promise<QueryChange>;
}

export interface QueryChange {
  readonly row: DatasetQueryRow;
  /** @returns false when the row was changed meanwhile */
  write(tx: StoreTransaction): Promise<boolean>;
}

export function createQueryRows({ store, rows }: { store: Store; rows: RowAuthenticator }): QueryRows {
  const all = () => store.db.selectFrom('dataset_queries').selectAll();

  async function verified(row: DatasetQueryRow | undefined): Promise<DatasetQueryRow | undefined> {
    if (row) await rows.verify('dataset_queries', row);
    return row;
  }

  return {
    find: async (id) => await verified(await all().where('id', '=', id).executeTakeFirst()),

    own: async ({ id }, analyst, query) =>
      await verified(
        await all()
          .where('dataset_id', '=', id)
          .where('digest', '=', queryDigest(query))
          .where('analyst', '=', analyst)
          .executeTakeFirst(),
      ),

    answered: async ({ id }, digest) =>
      await verified(
        await all()
          .where('dataset_id', '=', id)
          .where('digest', '=', digest)
          .where('numbers', 'is not', null)
          .orderBy('analyst')
          .executeTakeFirst(),
      ),

    async page({ id }, analyst, after, limit) {
      const found = await all()
        .where('dataset_id', '=', id)
        .where('analyst', '=', analyst)
        .where('id', '>', after)
        .orderBy('id')
        .limit(limit)
        .execute();
      await Promise.all(found.map((row) => rows.verify('dataset_queries', row)));
      return found;
    },

    create: (dataset, { analyst, query, units, now }) =>
      rows.seal('dataset_queries', {
        ...{ id: newId(), namespace_id: dataset.namespaceId, dataset_id: dataset.id, analyst },
        ...{ digest: queryDigest(query), query: queryText(query), units: Number(units) },
        ...{ numbers: null, created_at: now, answered_at: null, revision: 1 },
      }),

    async answer(before, numbers, now) {
      const { mac: _, job, ...current } = before;
      const row = await rows.seal('dataset_queries', {
        ...{ ...current, numbers, answered_at: now, revision: before.revision + 1 },
      });
      return {
        row: { ...row, job },
        async write(tx) {
          const { numUpdatedRows } = await tx
            .updateTable('dataset_queries')
            .set(row)
            .where('id', '=', before.id)
            .where('revision', '=', before.revision)
            .executeTakeFirst();
          return numUpdatedRows === 1n;
        },
      };
    },
  };
}

function queryDigest(query: Query): Uint8Array {
  return createHash('sha256').update(queryText(query)).digest();
}
