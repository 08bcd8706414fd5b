import type { Caller, Principal } from '../access/caller.ts';
import type { Operations } from '../access/operations.ts';
import { createCache } from '../core/cache.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { isId, newId } from '../core/ids.ts';
import { cutPage, idAfter, type Page, type PageRequest } from '../core/page.ts';
import { checkSchema } from '../crypto/fields/check-schema.ts';
import { compileSchema, type Schema } from '../crypto/fields/compile.ts';
import type { SchemaDefinition } from '../crypto/fields/schema.ts';
import { wrongPurpose } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { FieldSchemaRow } from '../store/field-rows.ts';
import type { Revision } from '../store/revision.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import { isUniqueViolation, type Store } from '../store/store.ts';

export interface SchemaView {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly definition: SchemaDefinition;
  /** Milliseconds. */
  readonly createdAt: number;
}

/** Schemas of fields. A version is never changed: values rest on it. */
export interface Schemas {
  /** @throws fields/schema-exists, fields/schema-invalid, key/not-found and key/wrong-purpose for a key it names */
  create(caller: Caller, request: { name: string; definition: SchemaDefinition }): Promise<SchemaView>;
  /** Adds a version, which is the current one from then on. @throws as `create`, and fields/conflict */
  addVersion(caller: Caller, schema: string, definition: SchemaDefinition): Promise<SchemaView>;
  /** @param version default: the current one. @throws fields/schema-not-found */
  describe(caller: Caller, schema: string, version?: number): Promise<SchemaView>;
  /** The current version of each. */
  list(caller: Caller, page: PageRequest): Promise<Page<SchemaView>>;
  /** Inside an operation. @throws fields/schema-not-found */
  load(principal: Principal, schema: string, version?: number): Promise<LoadedSchema>;
}

export interface LoadedSchema extends Pick<SchemaView, 'id' | 'name' | 'version'> {
  readonly schema: Schema;
}

const kept = 1_000;

export function createSchemas({
  store,
  rows,
  clock,
  operations,
  keys,
  revision,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  operations: Operations;
  keys: Keys;
  revision: Revision;
}): Schemas {
  /** By the schema's id or name, and the version where it was asked for. */
  const cache = createCache<LoadedSchema & { readonly namespaceId: string }>(kept);
  revision.onTouched((ids) => {
    if (ids === 'everything') return cache.clear();
    const touched = new Set(ids);
    for (const [name, { id }] of [...cache.entries()]) if (touched.has(id)) cache.delete(name);
  });

  async function read(principal: Principal, ref: string, version?: number): Promise<FieldSchemaRow> {
    const row = await store.db
      .selectFrom('field_schemas')
      .selectAll()
      .where('namespace_id', '=', principal.namespaceId)
      .where(isId(ref) ? 'id' : 'name', '=', ref)
      .$if(version !== undefined, (query) => query.where('version', '=', version as number))
      .orderBy('version', 'desc')
      .limit(1)
      .executeTakeFirst();
    if (!row) throw schemaNotFound();
    await rows.verify('field_schemas', row);
    return row;
  }

  /** Every key that it names must be there, for its caller too. */
  async function check(principal: Principal, definition: SchemaDefinition): Promise<void> {
    const faults = checkSchema(definition);
    if (faults.length > 0)
      throw new ServiceError('fields/schema-invalid', 'The schema breaks the rules listed in errors.', {
        errors: faults.slice(0, 20),
      });
    for (const name of new Set([definition.key, ...definition.fields.flatMap(({ key }) => key ?? [])])) {
      const key = await keys.find(principal, name);
      if (key.suite.purpose !== 'fields') throw wrongPurpose();
    }
  }

  async function sealed(row: Omit<FieldSchemaRow, 'mac' | 'created_at'>): Promise<FieldSchemaRow> {
    return await rows.seal('field_schemas', { ...row, created_at: clock.now() });
  }

  return {
    create: (caller, { name, definition }) =>
      operations.run(caller, 'fields.create-schema', { kind: 'schema', name }, async (operation) => {
        const { namespaceId } = caller.principal;
        await check(caller.principal, definition);
        const row = await sealed({
          ...{ id: newId(), namespace_id: namespaceId, name, version: 1 },
          definition: JSON.stringify(definition),
        });
        operation.target({ kind: 'schema', id: row.id, name, version: 1 });
        return await operation.change(async (tx) => {
          try {
            await tx.insertInto('field_schemas').values(row).execute();
          } catch (error) {
            if (!isUniqueViolation(error)) throw error;
            throw new ServiceError('fields/schema-exists', 'A schema of this name exists.');
          }
          return schemaView(row);
        });
      }),

    addVersion: (caller, ref, definition) =>
      operations.run(caller, 'fields.change-schema', { kind: 'schema', name: ref }, async (operation) => {
        const { id, name, namespace_id, version } = await read(caller.principal, ref);
        operation.target({ kind: 'schema', id, name, version: version + 1 });
        await check(caller.principal, definition);
        const row = await sealed({
          ...{ id, name, namespace_id, version: version + 1 },
          definition: JSON.stringify(definition),
        });
        return await operation.change(async (tx) => {
          try {
            await tx.insertInto('field_schemas').values(row).execute();
          } catch (error) {
            if (!isUniqueViolation(error)) throw error;
            throw new ServiceError('fields/conflict', 'Somebody else changed the schema at the same time.');
          }
          return schemaView(row);
        });
      }),

    describe: (caller, ref, version) =>
      operations.run(caller, 'fields.describe-schema', { kind: 'schema', name: ref }, async (operation) => {
        const row = await read(caller.principal, ref, version);
        operation.target({ kind: 'schema', id: row.id, name: row.name, version: row.version });
        return schemaView(row);
      }),

    list: (caller, { limit, cursor }) =>
      operations.run(caller, 'fields.list-schemas', { kind: 'schema' }, async () => {
        const found = await store.db
          .selectFrom('field_schemas as newest')
          .selectAll()
          .where('namespace_id', '=', caller.principal.namespaceId)
          .where('id', '>', idAfter(cursor))
          .where('version', '=', (query) =>
            query
              .selectFrom('field_schemas')
              .select(({ fn }) => fn.max('version').as('version'))
              .whereRef('field_schemas.id', '=', 'newest.id'),
          )
          .orderBy('id')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => row.id);
        await Promise.all(page.map((row) => rows.verify('field_schemas', row)));
        return { items: page.map(schemaView), ...next };
      }),

    async load(principal, ref, version) {
      const place = `${principal.namespaceId}/${ref}/${version ?? ''}`;
      return await cache.get(place, async () => {
        const row = await read(principal, ref, version);
        const { id, name } = row;
        const schema = compileSchema(id, definitionOf(row));
        return { id, name, version: row.version, namespaceId: row.namespace_id, schema };
      });
    },
  };
}

function definitionOf({ definition }: Pick<FieldSchemaRow, 'definition'>): SchemaDefinition {
  return JSON.parse(definition) as SchemaDefinition;
}

function schemaView(row: Omit<FieldSchemaRow, 'mac'>): SchemaView {
  const { id, name, version, created_at: createdAt } = row;
  return { id, name, version, createdAt, definition: definitionOf(row) };
}

function schemaNotFound(): ServiceError {
  return new ServiceError('fields/schema-not-found', 'There is no such schema.');
}
