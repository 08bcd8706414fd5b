import { expect, test } from 'vitest';
import { z } from 'zod';
import { actions, scopes } from '../../src/access/scopes.ts';
import { allRoutes } from '../../src/app.ts';
import { errorCodes } from '../../src/core/errors.ts';
import { problemKinds } from '../../src/http/problem.ts';
import { settings } from '../../src/settings.ts';
import { readDocument, tableRows } from './markdown.ts';

/** Guarantees that the page of settings lists each with its default and meaning, as the code has them. */
test('the table of settings is the code’s', () => {
  const schema = z.toJSONSchema(z.object(settings), { io: 'input' }) as {
    properties: Record<string, { default?: string; description?: string }>;
  };
  const expected = Object.entries(schema.properties).map(([name, setting]) => [
    name,
    setting.default ?? 'none',
    setting.description,
  ]);
  expect(expected.length).toBeGreaterThan(10);
  expect(tableRows(readDocument('docs/configuration.md'), 'setting')).toEqual(expected);
});

/** Guarantees that the page of the interface lists each error with its status and meaning, as the code has them. */
test('the table of errors is the code’s', () => {
  const expected = errorCodes.map((code) => [
    code,
    String(problemKinds[code].status),
    problemKinds[code].meaning,
  ]);
  expect(tableRows(readDocument('docs/api.md'), 'code')).toEqual(expected);
});

/** Guarantees that the page of the interface lists each scope with the actions it allows. */
test('the table of scopes is the code’s', () => {
  const expected = scopes.map((scope) => [
    scope,
    Object.entries(actions)
      .flatMap(([action, allowing]) => (allowing.some((one) => one === scope) ? [`\`${action}\``] : []))
      .join(', '),
  ]);
  const rows = tableRows(readDocument('docs/api.md'), 'scope');
  expect(rows.map(([scope, allowed]) => [scope, withBackquotes(allowed ?? '')])).toEqual(expected);
});

/** A cell that is one backquoted word alone lost its backquotes when it was read. */
function withBackquotes(cell: string): string {
  return cell.includes('`') ? cell : `\`${cell}\``;
}

/** Guarantees that the page of the interface lists each endpoint, and no other, with the route's own summary. */
test('the table of endpoints is the code’s', () => {
  const parts = {} as Parameters<typeof allRoutes>[0];
  const expected = allRoutes(parts).map(({ method, path, summary, idempotent }) => [
    `${method.toUpperCase()} ${path}`,
    summary,
    idempotent === true ? 'yes' : '',
  ]);
  expect(expected.length).toBeGreaterThan(10);
  expect(tableRows(readDocument('docs/api.md'), 'endpoint')).toEqual(expected);
});
