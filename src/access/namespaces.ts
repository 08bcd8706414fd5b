import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { cutPage, idAfter, type Page, type PageRequest } from '../core/page.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { NamespaceRow } from '../store/schema.ts';
import { isUniqueViolation, type Store, type StoreTransaction } from '../store/store.ts';
import type { Caller } from './caller.ts';
import type { Operations } from './operations.ts';

export interface NamespaceView {
  readonly id: string;
  readonly name: string;
  readonly region: string;
  /** Milliseconds. */
  readonly createdAt: number;
}

export interface Namespaces {
  /** @throws access/namespace-exists */
  create(caller: Caller, request: { name: string; region?: string | undefined }): Promise<NamespaceView>;
  list(caller: Caller, page: PageRequest): Promise<Page<NamespaceView>>;
}

/** Prepares what a new namespace needs (its KEK) and gives back the part that belongs into the transaction. */
export type ProvisionNamespace = (namespaceId: string) => Promise<(tx: StoreTransaction) => Promise<void>>;

export function createNamespaces({
  store,
  rows,
  clock,
  operations,
  provision,
  region: defaultRegion,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  operations: Operations;
  provision: ProvisionNamespace;
  region: string;
}): Namespaces {
  return {
    create(caller, { name, region = defaultRegion }) {
      return operations.run(
        caller,
        'access.create-namespace',
        { kind: 'namespace', name },
        async (operation) => {
          const id = newId();
          operation.target({ kind: 'namespace', id, name });
          const provisionIn = await provision(id);
          const row = await rows.seal('namespaces', newNamespaceRow({ id, name, region, now: clock.now() }));
          return await operation.change(async (tx) => {
            try {
              await tx.insertInto('namespaces').values(row).execute();
            } catch (error) {
              if (!isUniqueViolation(error)) throw error;
              throw new ServiceError('access/namespace-exists', 'A namespace of this name exists.');
            }
            await provisionIn(tx);
            return namespaceView(row);
          });
        },
      );
    },

    list(caller, { limit, cursor }) {
      return operations.run(caller, 'access.list-namespaces', { kind: 'namespace' }, async () => {
        const found = await store.db
          .selectFrom('namespaces')
          .selectAll()
          .where('id', '>', idAfter(cursor))
          .orderBy('id')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => row.id);
        await Promise.all(page.map((row) => rows.verify('namespaces', row)));
        return { items: page.map(namespaceView), ...next };
      });
    },
  };
}

export function newNamespaceRow({
  id,
  name,
  region,
  now,
}: {
  id: string;
  name: string;
  region: string;
  now: number;
}): Omit<NamespaceRow, 'mac'> {
  return { id, namespace_id: id, name, region, created_at: now, revision: 1 };
}

function namespaceView(row: Omit<NamespaceRow, 'mac'>): NamespaceView {
  return { id: row.id, name: row.name, region: row.region, createdAt: row.created_at };
}
