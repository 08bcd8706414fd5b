import type { z } from 'zod';
import { ServiceError } from '../core/errors.ts';
import { invalidRequest } from './violations.ts';

/** @param prefix of the pointers of what is wrong. @throws request/invalid */
export function decoded(schema: z.ZodType, value: unknown, prefix: string): unknown {
  const result = schema.safeParse(value);
  if (!result.success) throw invalidRequest(result.error, schema, prefix);
  return result.data;
}

const noQuery = {};

/** Decodes the query string; a name that occurs twice, or any where none is taken, is refused. */
export function decodedQuery(schema: z.ZodType | undefined, url: string): unknown {
  const start = url.indexOf('?');
  const text = start < 0 ? '' : url.slice(start + 1);
  if (text === '') return schema && decoded(schema, noQuery, '#query');
  if (schema === undefined) throw invalidQuery('This operation takes no query.');
  const values = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(text)) {
    if (values.has(name)) throw invalidQuery('The query has the same name twice.');
    values.set(name, value);
  }
  return decoded(schema, Object.fromEntries(values), '#query');
}

function invalidQuery(detail: string): ServiceError {
  return new ServiceError('request/invalid', detail);
}
