import type { ErrorCode, Violation } from '../core/errors.ts';
import { StatheraError, type StatheraErrorInit } from './errors.ts';

const longestText = 1_000;
const codeForm = /^[a-z][a-z-]{0,40}(?:\/[a-z][a-z-]{0,60})?$/;

/**
 * A problem document as an error; undefined when it is none. Its texts end in logs and on terminals, and whoever sent
 * it may not be the service: they are kept short, printable and free of the token.
 */
export function problemError(
  body: unknown,
  token: string | undefined,
  init: StatheraErrorInit,
): StatheraError | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { code, detail, errors } = body as Record<string, unknown>;
  if (typeof code !== 'string' || !codeForm.test(code) || typeof detail !== 'string') return undefined;
  const clean = (text: string) => printable(token === undefined ? text : text.replaceAll(token, '[token]'));
  const violations = Array.isArray(errors)
    ? errors.slice(0, 20).flatMap((each) => violation(each, clean))
    : [];
  return new StatheraError(code as ErrorCode, clean(detail), {
    ...init,
    ...(violations.length > 0 && { errors: violations }),
  });
}

function violation(value: unknown, clean: (text: string) => string): Violation[] {
  const { pointer, detail } = (value ?? {}) as Record<string, unknown>;
  if (typeof pointer !== 'string' || typeof detail !== 'string') return [];
  return [{ pointer: clean(pointer), detail: clean(detail) }];
}

/** Without control and format characters, which terminals and readers of logs obey. */
export function printable(text: string): string {
  return text.slice(0, longestText).replaceAll(/[\p{C}\u2028\u2029]+/gu, ' ');
}
