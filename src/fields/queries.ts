import type { Caller } from '../access/caller.ts';
import type { Operations } from '../access/operations.ts';
import { ServiceError } from '../core/errors.ts';
import { loadKeyring } from '../crypto/fields/load-keyring.ts';
import { nodeCiphers as ciphers } from '../crypto/fields/node-ciphers.ts';
import { keyOf, pinnedVersion, type QueryToken, queryTokens, searchable } from '../crypto/fields/queries.ts';
import { FieldRefused } from '../crypto/fields/refusals.ts';
import { keyNotFound, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { FieldKeys } from './field-keys.ts';
import { refusalOf } from './refusals.ts';
import type { Schemas } from './schemas.ts';

export interface QueryRequest {
  readonly schema: string;
  readonly version?: number | undefined;
  readonly queries: readonly FieldQuery[];
}

export interface FieldQuery {
  /** Of an index, or of a field that seals equal values alike. */
  readonly name: string;
  /** By the names of the fields. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Ordinals of the key. Default: the one that the schema names, or else the newest and the 19 before it. */
  readonly versions?: readonly number[] | undefined;
}

export interface QueryAnswers {
  readonly schemaVersion: number;
  readonly results: readonly (
    | { readonly tokens: readonly QueryToken[] }
    | { readonly error: ServiceError }
  )[];
}

export interface Queries {
  /**
   * What documents are searched for that were sealed with these values: one token a version of the key.
   * @throws fields/schema-not-found, key/not-found, key/wrong-purpose, key/disabled
   */
  queryTokens(caller: Caller, request: QueryRequest): Promise<QueryAnswers>;
}

const newestVersions = 20;

export function createQueries({
  operations,
  keys,
  schemas,
  fieldKeys,
}: {
  operations: Operations;
  keys: Keys;
  schemas: Schemas;
  fieldKeys: FieldKeys;
}): Queries {
  return {
    queryTokens: (caller, { schema: ref, version, queries }) =>
      operations.run(caller, 'fields.query-tokens', { kind: 'schema', name: ref }, async (operation) => {
        const loaded = await schemas.load(caller.principal, ref, version);
        const { id, name } = loaded;
        operation.target({ kind: 'schema', id, name, version: loaded.version });
        const usable = await fieldKeys.usable(caller.principal, [loaded.schema]);
        const source = fieldKeys.source(usable, false);
        const tools = { ciphers, schema: loaded.schema };
        const used = new Map<string, number>();

        async function answer(query: FieldQuery, index: number) {
          const what = searchable(tools, query.name);
          if (what === undefined) throw notSearchable(index);
          const key = usable.found.get(keyOf(what));
          if (key === undefined) throw keyNotFound();
          used.set(key.name, (used.get(key.name) ?? 0) + 1);
          const current = await keys.derivingFields(key, 'open');
          const pinned = pinnedVersion(what);
          const ordinals = query.versions ?? (pinned === undefined ? newest(current.ordinal) : [pinned]);
          const found = await Promise.all(ordinals.map((ordinal) => source.version(key.name, ordinal)));
          const versions = found.flatMap((one) => one ?? []);
          const values = new Map(Object.entries(query.values));
          const work = queryTokens(tools, what, { values, versions });
          return { tokens: work.run(await loadKeyring(work.needs, source)) };
        }

        const results: QueryAnswers['results'][number][] = [];
        for (const [index, query] of queries.entries())
          try {
            results.push(await answer(query, index));
          } catch (error) {
            if (!(error instanceof FieldRefused)) throw error;
            results.push({ error: refusalOf(error, `/queries/${index}/values`) });
          }
        operation.items(
          [...usable.found].flatMap(([keyName, key]) => {
            const count = used.get(keyName);
            return count === undefined
              ? []
              : [
                  {
                    action: 'fields.query-tokens',
                    target: targetOf(key),
                    outcome: 'allowed' as const,
                    count,
                  },
                ];
          }),
        );
        return { schemaVersion: loaded.version, results };
      }),
  };
}

function newest(ordinal: number): number[] {
  const count = Math.min(newestVersions, ordinal);
  return Array.from({ length: count }, (_, back) => ordinal - back);
}

function notSearchable(index: number): ServiceError {
  return new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
    errors: [
      {
        pointer: `/queries/${index}/name`,
        detail: 'must be an index, or a field that is deterministic or format-preserving',
      },
    ],
  });
}
