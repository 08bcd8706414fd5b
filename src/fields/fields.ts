import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Caller } from '../access/caller.ts';
import type { Operation, Operations } from '../access/operations.ts';
import type { Action } from '../access/scopes.ts';
import type { AuditItem } from '../audit/entry.ts';
import type { ServiceError } from '../core/errors.ts';
import { copyExact } from '../core/exact-json.ts';
import {
  decryptItems,
  encryptItems,
  revealItems,
  rewrapItems,
  type Work,
} from '../crypto/fields/documents.ts';
import type { Item, Tally, Tools } from '../crypto/fields/items.ts';
import { loadKeyring } from '../crypto/fields/load-keyring.ts';
import { nodeCiphers as ciphers } from '../crypto/fields/node-ciphers.ts';
import { type FieldVersion, keyNotFound, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { FieldKeys, UsableKeys } from './field-keys.ts';
import { createQueries, type Queries } from './queries.ts';
import { refusalOf } from './refusals.ts';
import type { LoadedSchema, Schemas } from './schemas.ts';

export interface FieldsRequest {
  readonly schema: string;
  /** Of the schema. Default: the current one. */
  readonly version?: number | undefined;
  readonly documents: readonly FieldDocument[];
}

export interface FieldDocument {
  /** JSON with its numbers as they are written; neither changed nor kept. */
  readonly document: unknown;
  /** Authenticated with its randomized values. */
  readonly record?: string | undefined;
}

export interface RewrapFieldsRequest extends FieldsRequest {
  /** The version of the schema by which the documents were sealed. Default: `version`. */
  readonly fromVersion?: number | undefined;
}

export interface FieldResults {
  readonly schemaId: string;
  readonly schemaVersion: number;
  /** Names of fields whose keys the caller may not use: they are as they were. */
  readonly untouched: readonly string[];
  /** One a document, in their order. */
  readonly results: readonly ({ readonly document: unknown } | { readonly error: ServiceError })[];
}

/**
 * Operations on fields of documents. A document that is refused fails alone, and has no part of it changed. All throw
 * fields/schema-not-found, key/wrong-purpose, key/disabled.
 */
export interface Fields extends Queries {
  /** @throws key/not-found for a key the caller may not use, key/version-disabled, key/usage-exhausted */
  encrypt(caller: Caller, request: FieldsRequest): Promise<FieldResults>;
  decrypt(caller: Caller, request: FieldsRequest): Promise<FieldResults>;
  /** What the schema shows of each field, and no more. */
  reveal(caller: Caller, request: FieldsRequest): Promise<FieldResults>;
  rewrap(caller: Caller, request: RewrapFieldsRequest): Promise<FieldResults>;
}

/** Values between two turns of everyone else: some ten milliseconds. */
const valuesATime = 2_000;

export function createFields({
  operations,
  keys,
  schemas,
  fieldKeys,
}: {
  operations: Operations;
  keys: Keys;
  schemas: Schemas;
  fieldKeys: FieldKeys;
}): Fields {
  interface Run {
    readonly caller: Caller;
    readonly action: Action;
    readonly request: RewrapFieldsRequest;
    /** Whether something new is made with current versions. */
    readonly seals: boolean;
    /** Whether every key must be there. */
    readonly whole?: boolean;
    readonly plan: (tools: Tools, of: Of, items: readonly Item[]) => Work<Tally>;
  }
  interface Of {
    readonly from: LoadedSchema;
    readonly allowed: (key: string) => boolean;
  }

  function run({ caller, action, request, seals, whole, plan }: Run): Promise<FieldResults> {
    const { schema: ref, version, fromVersion } = request;
    return operations.run(caller, action, { kind: 'schema', name: ref }, async (operation) => {
      const { principal } = caller;
      const loaded = await schemas.load(principal, ref, version);
      const { id, name } = loaded;
      operation.target({ kind: 'schema', id, name, version: loaded.version });
      const from =
        fromVersion === undefined || fromVersion === loaded.version
          ? loaded
          : await schemas.load(principal, id, fromVersion);
      const usable = await fieldKeys.usable(principal, [loaded.schema, from.schema]);
      if (whole && usable.hidden.length > 0) throw keyNotFound();
      if (seals) await checkPinned(loaded, usable);
      const of = { from, allowed: (key: string) => usable.found.has(key) };
      const tools = { ciphers, schema: loaded.schema };
      const items = request.documents.map((one) => ({ ...one, document: copyExact(one.document) }));
      const counts = new Map<string, number>();
      const source = fieldKeys.source(usable, seals);
      for (const slice of slices(items, loaded.schema.fields.length)) {
        const work = plan(tools, of, slice);
        const keyring = await loadKeyring(work.needs, source);
        const tally = work.run(keyring);
        if (seals) await countUses(tally, usable, (key) => source.known(keyring.current(key)));
        for (const [{ key }, values] of tally) counts.set(key, (counts.get(key) ?? 0) + values);
        await nextTurn();
      }
      record(operation, { action, counts, usable, items });
      return {
        schemaId: id,
        schemaVersion: loaded.version,
        untouched: loaded.schema.fields.filter(({ key }) => !of.allowed(key)).map((field) => field.name),
        results: items.map(resultOf),
      };
    });
  }

  /** Nothing new is made by a version that the schema names and that may only open. */
  async function checkPinned({ schema }: LoadedSchema, { found }: UsableKeys): Promise<void> {
    for (const { key: name, treatment } of schema.fields) {
      const key = found.get(name);
      if (key && treatment.kind === 'format' && treatment.keyVersion !== undefined)
        await keys.derivingFields(key, 'make', treatment.keyVersion);
    }
  }

  /** Before anything of it is given out. */
  async function countUses(
    tally: Tally,
    { found }: UsableKeys,
    sealedBy: (key: string) => FieldVersion,
  ): Promise<void> {
    const uses = new Map<string, number>();
    for (const [{ key, treatment }, values] of tally)
      if (treatment.kind === 'randomized') uses.set(key, (uses.get(key) ?? 0) + values);
    for (const [name, count] of uses) {
      const key = found.get(name);
      if (key && count > 0) await keys.countFields(key, sealedBy(name), count);
    }
  }

  return {
    encrypt: (caller, request) =>
      run({
        ...{ caller, request, action: 'fields.encrypt', seals: true, whole: true },
        plan: (tools, _, items) => encryptItems(tools, items),
      }),
    decrypt: (caller, request) =>
      run({
        ...{ caller, request, action: 'fields.decrypt', seals: false },
        plan: (tools, { allowed }, items) => decryptItems(tools, allowed, items),
      }),
    reveal: (caller, request) =>
      run({
        ...{ caller, request, action: 'fields.reveal', seals: false },
        plan: (tools, { allowed }, items) => revealItems(tools, allowed, items),
      }),
    rewrap: (caller, request) =>
      run({
        ...{ caller, request, action: 'fields.rewrap', seals: true },
        plan: (tools, { from, allowed }, items) => rewrapItems(tools, { from: from.schema, allowed }, items),
      }),
    ...createQueries({ operations, keys, schemas, fieldKeys }),
  };
}

function slices(items: readonly Item[], fields: number): Item[][] {
  const each = Math.max(1, Math.floor(valuesATime / Math.max(1, fields)));
  return Array.from({ length: Math.ceil(items.length / each) }, (_, index) =>
    items.slice(index * each, (index + 1) * each),
  );
}

function resultOf({ document, refused }: Item, index: number): FieldResults['results'][number] {
  return refused ? { error: refusalOf(refused, `/documents/${index}/document`) } : { document };
}

/** One record: how many values by each key, which keys were not the caller's, how many documents were refused and why. */
function record(
  operation: Operation,
  {
    action,
    counts,
    usable: { found, hidden },
    items,
  }: {
    action: Action;
    counts: ReadonlyMap<string, number>;
    usable: UsableKeys;
    items: readonly Item[];
  },
): void {
  const refused = new Map<ServiceError['code'], number>();
  for (const { refused: why } of items) {
    if (!why) continue;
    const { code } = refusalOf(why, '');
    refused.set(code, (refused.get(code) ?? 0) + 1);
  }
  operation.items([
    ...[...found].map(
      ([name, key]): AuditItem => ({
        ...{ action, target: targetOf(key), outcome: 'allowed', count: counts.get(name) ?? 0 },
      }),
    ),
    ...hidden.map(
      (name): AuditItem => ({
        action,
        target: { kind: 'key', name },
        outcome: 'refused',
        code: 'key/not-found',
      }),
    ),
    ...[...refused].map(([code, count]): AuditItem => ({ action, outcome: 'refused', code, count })),
  ]);
}
