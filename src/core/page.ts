import { ServiceError } from './errors.ts';
import { isId } from './ids.ts';

/** A page of a list: `limit` 1–1,000, `cursor` from the page before. */
export interface PageRequest {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

export interface Page<Item> {
  readonly items: Item[];
  /** Absent on the last page. */
  readonly nextCursor?: string;
}

/** The id a list ordered by ids goes on after. @throws request/invalid for what no page gave out */
export function idAfter(cursor: string | undefined): string {
  if (cursor === undefined) return '';
  if (!isId(cursor)) throw invalidCursor();
  return cursor;
}

/**
 * Cuts what was read with one row more than `limit`: the row too many says that another page follows.
 * @param cursorOf the last row's cursor
 */
export function cutPage<Row>(
  found: readonly Row[],
  limit: number,
  cursorOf: (row: Row) => string,
): { readonly rows: Row[]; readonly next: { readonly nextCursor?: string } } {
  const rows = found.slice(0, limit);
  const last = found.length > limit ? rows.at(-1) : undefined;
  return { rows, next: last === undefined ? {} : { nextCursor: cursorOf(last) } };
}

export function invalidCursor(): ServiceError {
  return new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
    errors: [{ pointer: '#query/cursor', detail: 'must be the nextCursor of an earlier page' }],
  });
}
