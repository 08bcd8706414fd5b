import { z } from 'zod';
import { ServiceError, type Violation } from '../core/errors.ts';

/** Rules that zod has no issue code for. Their members come from schemas, never from requests. */
export type Rule =
  | {
      readonly rule:
        | 'base64'
        | 'bounds'
        | 'map'
        | 'not-an-id'
        | 'page-limit'
        | 'purpose'
        | 'reserved'
        | 'unique'
        | 'utc-time'
        | 'well-formed';
    }
  | { readonly rule: 'pairs' | 'pair-name' | 'pair-value' | 'map-bytes'; readonly max: number }
  | { readonly rule: 'bytes'; readonly min: number; readonly max: number }
  | { readonly rule: 'together'; readonly with: string }
  | { readonly rule: 'either'; readonly or: string };

interface IssueSink {
  addIssue(issue: { code: 'custom'; params: Rule; path?: string[] }): void;
}

/** Breaks a rule inside a transform. @param path to the member, where the transform is of what holds it */
export function violate(context: IssueSink, rule: Rule, path: string[] = []): never {
  context.addIssue({ code: 'custom', params: rule, path });
  return z.NEVER;
}

const most = 20;

/**
 * What a request violated, in texts that are fixed by issue code and schema: nothing a client sent is
 * repeated. A pointer ends before the first name that is no member in `schema`: such names are the client's.
 * @param schema the one that gave the error
 * @param prefix stands before every pointer: `#query` or `#path` when it is not about the body
 * @returns at most 20
 */
export function violations(error: z.ZodError, schema: z.ZodType, prefix = ''): Violation[] {
  const members = memberNames(schema);
  return error.issues.slice(0, most).map((issue) => ({
    pointer: prefix + pointerTo(issue.path, members),
    detail: textOf(issue),
  }));
}

/** The error of a request that breaks rules of its schema. */
export function invalidRequest(error: z.ZodError, schema: z.ZodType, prefix = ''): ServiceError {
  return new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
    errors: violations(error, schema, prefix),
  });
}

function pointerTo(path: readonly PropertyKey[], members: ReadonlySet<string>): string {
  let pointer = '';
  for (const step of path) {
    if (typeof step === 'number') pointer += `/${step}`;
    else if (typeof step === 'string' && members.has(step)) {
      pointer += `/${step.replaceAll('~', '~0').replaceAll('/', '~1')}`; // RFC 6901 §3
    } else break;
  }
  return pointer;
}

const knownMembers = new WeakMap<z.ZodType, ReadonlySet<string>>();

/** Every member name that appears anywhere in a schema. */
function memberNames(schema: z.ZodType): ReadonlySet<string> {
  const known = knownMembers.get(schema);
  if (known !== undefined) return known;
  const names = new Set<string>();
  collectNames(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), names);
  knownMembers.set(schema, names);
  return names;
}

function collectNames(node: unknown, names: Set<string>): void {
  if (typeof node !== 'object' || node === null) return;
  for (const [keyword, value] of Object.entries(node)) {
    if (keyword === 'properties') for (const name of Object.keys(value as object)) names.add(name);
    collectNames(value, names);
  }
}

function textOf(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected === 'nonoptional' ? 'is required' : `must be of type ${issue.expected}`;
    case 'too_big':
      return `must ${sized(issue.origin)} ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${unit(issue.origin)}`;
    case 'too_small':
      return `must ${sized(issue.origin)} ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${unit(issue.origin)}`;
    case 'invalid_format':
      return 'does not have the required form';
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`;
    case 'unrecognized_keys':
      return 'has a member that is not known';
    case 'invalid_value':
      return `must be one of: ${issue.values.map(String).join(', ')}`;
    case 'invalid_union':
      return 'has none of the permitted forms';
    case 'invalid_key':
    case 'invalid_element':
      return 'has an entry that is not valid';
    case 'custom':
      return ruleText(issue.params as Rule | undefined);
  }
}

function sized(origin: string): string {
  return unit(origin) === '' ? 'be' : 'have';
}

function unit(origin: string): string {
  if (origin === 'string') return ' characters';
  return origin === 'array' || origin === 'set' ? ' elements' : '';
}

function ruleText(rule: Rule | undefined): string {
  switch (rule?.rule) {
    case 'base64':
      return 'must be standard base64 with padding (RFC 4648 section 4)';
    case 'bounds':
      return 'is not within the bounds that it belongs to, or not in order';
    case 'unique':
      return 'has the same name twice';
    case 'bytes':
      return `must be ${rule.min} to ${rule.max} bytes long when decoded`;
    case 'map':
      return 'must be a flat object of strings';
    case 'pairs':
      return `must have at most ${rule.max} pairs`;
    case 'pair-name':
      return `has a name that is not 1 to ${rule.max} characters of well-formed Unicode`;
    case 'pair-value':
      return `has a value that is not a string of at most ${rule.max} characters of well-formed Unicode`;
    case 'reserved':
      return 'is a name of the service';
    case 'not-an-id':
      return 'must not look like a UUID';
    case 'page-limit':
      return 'must be a whole number from 1 to 1000';
    case 'purpose':
      return 'is not for this algorithm';
    case 'either':
      return `is required, or ${rule.or}`;
    case 'together':
      return `is required together with ${rule.with}`;
    case 'utc-time':
      return 'must be a time in UTC as in 2026-11-24T00:00:00Z (RFC 3339)';
    case 'map-bytes':
      return `has more than ${rule.max} bytes of names and values in UTF-8`;
    case 'well-formed':
      return 'must be well-formed Unicode';
    case undefined:
      return 'is not valid';
  }
}
