import type { Base64 } from './bytes.ts';
import { StatheraError } from './errors.ts';
import { batchOperations, type OperationRow } from './operations.ts';

export type Members = Readonly<Record<string, unknown>>;

/** What an operation sends. */
export interface EncodedRequest {
  /** Path and query. */
  readonly target: string;
  readonly body: string | Uint8Array<ArrayBuffer> | undefined;
}

/**
 * Puts the members of a call where the operation has them.
 * @throws TypeError for bytes that are none: text would be taken for base64
 * @throws request/invalid for a part of the path that no path could have
 */
export function encodeRequest(row: OperationRow, input: Members, base64: Base64): EncodedRequest {
  const rest = new Map(Object.entries(input));
  const path = row.path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const part = rest.get(name);
    rest.delete(name);
    return pathPart(name, part);
  });
  if (row.method === 'GET') return { target: path + queryOf(rest), body: undefined };
  if (row.method === 'DELETE') return { target: path, body: undefined };
  if (row.answer === 'lines') {
    const lines = rest.get('lines') as readonly Members[];
    return {
      target: path,
      body: lines.map((line) => `${JSON.stringify(encodeBytes(row, line, base64))}\n`).join(''),
    };
  }
  if (row.raw !== undefined) return { target: path, body: rawBody(row.raw, rest.get(row.raw)) };
  const members = encodeBytes(row, Object.fromEntries(rest), base64);
  const operations: unknown = members['operations'];
  if (row.answer !== 'batch' || !Array.isArray(operations)) {
    return { target: path, body: JSON.stringify(members) };
  }
  const items = operations.map((item) => encodeItem(item, base64));
  return { target: path, body: JSON.stringify({ ...members, operations: items }) };
}

/** `.` and `..` are taken out of paths, however they are written: they would lead elsewhere. */
function pathPart(name: string, value: unknown): string {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text === 'string' && text.isWellFormed() && !['', '.', '..'].includes(text)) {
    return encodeURIComponent(text);
  }
  const detail = 'does not have the required form';
  throw new StatheraError('request/invalid', `\`${name}\` ${detail}: give a name or an id.`, {
    errors: [{ pointer: `#path/${name}`, detail }],
  });
}

function queryOf(members: ReadonlyMap<string, unknown>): string {
  const query = new URLSearchParams();
  for (const [name, value] of members) {
    if (typeof value === 'string' || typeof value === 'number') query.set(name, String(value));
    else if (value !== undefined) throw new TypeError(`${name} must be a string or a number`);
  }
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}

function rawBody(name: string, value: unknown): Uint8Array<ArrayBuffer> {
  if (value instanceof Uint8Array) return value as Uint8Array<ArrayBuffer>;
  throw new TypeError(`${name} must be a Uint8Array`);
}

function encodeItem(item: unknown, base64: Base64): unknown {
  const members = item as Members;
  const row = rowOfItem(members['operation']);
  return row ? encodeBytes(row, members, base64) : members;
}

/** Undefined for an operation that is not known: the service says so. */
export function rowOfItem(operation: unknown): OperationRow | undefined {
  return typeof operation === 'string' && Object.hasOwn(batchOperations, operation)
    ? batchOperations[operation as keyof typeof batchOperations]
    : undefined;
}

function encodeBytes({ bytes = [] }: OperationRow, members: Members, base64: Base64): Members {
  const encoded: Record<string, unknown> = { ...members };
  for (const named of bytes) {
    const optional = named.endsWith('?');
    const name = optional ? named.slice(0, -1) : named;
    const value = members[name];
    if (optional && value === undefined) continue;
    if (!(value instanceof Uint8Array)) throw new TypeError(`${name} must be a Uint8Array`);
    encoded[name] = base64.toBase64(value);
  }
  return encoded;
}
