import type { Base64 } from './bytes.ts';
import { type Members, rowOfItem } from './requests.ts';
import type { Shape } from './shapes.ts';

/** An answer that is not what the operation gives; it names the place, never the value. */
export class Mismatch extends Error {
  /** JSON Pointer. */
  readonly pointer: string;

  constructor(pointer: string) {
    super(pointer);
    this.pointer = pointer;
  }
}

/**
 * Holds a value against a shape; base64 becomes bytes in place. Members the shape does not name are left as they are.
 * @throws Mismatch
 */
export function decodeAnswer(shape: Shape, value: unknown, base64: Base64, at = ''): unknown {
  if (typeof shape === 'string') return decodePrimitive(shape, value, base64, at);
  if (isList(shape)) {
    if (!Array.isArray(value)) throw new Mismatch(at);
    value.forEach((item: unknown, index) => {
      value[index] = decodeAnswer(shape[0], item, base64, `${at}/${index}`);
    });
    return value;
  }
  const members = membersOf(value, at);
  for (const [named, member] of Object.entries(shape)) {
    const optional = named.endsWith('?');
    const name = optional ? named.slice(0, -1) : named;
    if (Object.hasOwn(members, name))
      members[name] = decodeAnswer(member, members[name], base64, `${at}/${name}`);
    else if (!optional) throw new Mismatch(`${at}/${name}`);
  }
  return members;
}

function isList(shape: Exclude<Shape, string>): shape is readonly [Shape] {
  return Array.isArray(shape);
}

function membersOf(value: unknown, at: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Mismatch(at);
  return value as Record<string, unknown>;
}

function decodePrimitive(shape: Extract<Shape, string>, value: unknown, base64: Base64, at: string): unknown {
  switch (shape) {
    case 'string':
    case 'boolean':
      if (typeof value !== shape) throw new Mismatch(at);
      return value;
    case 'integer':
      if (!Number.isSafeInteger(value)) throw new Mismatch(at);
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw new Mismatch(at);
      return value;
    case 'json':
      return value;
    case 'bytes': {
      const bytes = typeof value === 'string' ? base64.fromBase64(value) : undefined;
      if (!bytes) throw new Mismatch(at);
      return bytes;
    }
    case 'strings':
      if (Object.values(membersOf(value, at)).some((text) => typeof text !== 'string'))
        throw new Mismatch(at);
      return value;
  }
}

/** An item of a batch that was refused, beside its status. */
export const failedItem = {
  problem: { type: 'string', title: 'string', status: 'integer', detail: 'string', code: 'string' },
} as const satisfies Shape;

/** The results of a batch: as many as its items, in their order, each with what its operation gives. */
export function decodeBatch(items: readonly unknown[], value: unknown, base64: Base64): unknown {
  const answer = membersOf(value, '');
  const results = answer['results'];
  if (!Array.isArray(results) || results.length !== items.length) throw new Mismatch('/results');
  results.forEach((result: unknown, index) => {
    const at = `/results/${index}`;
    const item = (items[index] ?? {}) as Members;
    const { status, id } = membersOf(result, at);
    if (id !== item['id']) throw new Mismatch(`${at}/id`);
    const shape = status === 200 ? rowOfItem(item['operation'])?.answer : failedItem;
    const known = status === 200 || (Number.isSafeInteger(status) && Number(status) >= 400);
    if (typeof shape !== 'object' || !known) {
      throw new Mismatch(`${at}/status`);
    }
    decodeAnswer(shape, result, base64, at);
  });
  return answer;
}
