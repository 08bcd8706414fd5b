import { isId } from '../core/ids.ts';
import type { Scope } from './scopes.ts';

/** Who a credential belongs to; the same object for every request with it. */
export interface Principal {
  readonly kind: 'token' | 'system';
  readonly id: string;
  readonly name: string;
  readonly namespaceId: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Keys it may see: exact names or ids, or prefixes ending in `*`. Undefined: every key of the namespace. */
  readonly keyPatterns: readonly string[] | undefined;
  /** Milliseconds: when the credential ends. Undefined: never. */
  readonly expiresAt?: number | undefined;
}

/** The first parameter of every operation: a principal in one request. */
export interface Caller {
  readonly principal: Principal;
  readonly requestId: string;
  /** The peer's address. */
  readonly source: string | undefined;
  readonly idempotency: IdempotencyKey | undefined;
}

export interface IdempotencyKey {
  /** As the client sent it: 1–128 visible ASCII characters. */
  readonly key: string;
  /** SHA-256 over method, path and body. */
  readonly fingerprint: Uint8Array;
}

/** True when the principal's patterns let it see the key. */
export function maySee(principal: Principal, key: { readonly id: string; readonly name: string }): boolean {
  if (principal.keyPatterns === undefined) return true;
  return principal.keyPatterns.some((pattern) => pattern === key.id || covers(pattern, key.name));
}

/** True when whatever key `inner` (a pattern, a name or an id) stands for, `outer` stands for as well. */
export function covers(outer: string, inner: string): boolean {
  // A prefix is one of names. An id has the form of a name, which no name may have, and says nothing of one.
  if (isId(inner)) return outer === inner;
  if (!outer.endsWith('*')) return outer === inner;
  return inner.startsWith(outer.slice(0, -1));
}
