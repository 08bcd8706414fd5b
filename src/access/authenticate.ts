import { equalBytes } from '../core/bytes.ts';
import { type Cache, createCache } from '../core/cache.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { TokenRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import type { Principal } from './caller.ts';
import type { Scope } from './scopes.ts';
import { parseTokenSecret } from './token-secret.ts';

/** Finds out who calls. */
export interface Authenticator {
  /**
   * @param authorization the request's Authorization header
   * @throws access/unauthenticated with one text for every reason
   */
  authenticate(authorization: string | undefined): Promise<Principal>;
  /**
   * Whether a principal's credential is still what it was, after time has passed.
   * @throws access/unauthenticated
   */
  confirm(principal: Principal): Promise<void>;
  /** Forgets tokens that were changed. */
  forget(tokenIds: readonly string[] | 'everything'): void;
}

interface KnownToken {
  readonly principal: Principal;
  readonly secretHash: Uint8Array;
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
}

/** Requests whose token is being read, at most: strangers can ask for any number of tokens that do not exist. */
const readingLimit = 1_024;

const unknownHash = new Uint8Array(32);

/** @param limit tokens kept in memory */
export function createAuthenticator({
  store,
  rows,
  clock,
  limit = 10_000,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  limit?: number;
}): Authenticator {
  const cache: Cache<KnownToken> = createCache(limit);
  const byId = store.prepare<TokenRow>((db) => db.selectFrom('tokens').selectAll().where('id', '=', ''));
  let reading = 0;

  const read = (id: string) => cache.get(id, () => load(id)).catch(absent);

  /** For requests of whom nothing is known yet. */
  async function readForStranger(id: string): Promise<KnownToken | undefined> {
    if (reading >= readingLimit) {
      throw new ServiceError('service/overloaded', 'Too many requests at once.', { retryAfterSeconds: 1 });
    }
    reading += 1;
    try {
      return await read(id);
    } finally {
      reading -= 1;
    }
  }

  async function load(id: string): Promise<KnownToken> {
    const [row] = await byId(id);
    if (!row) throw unauthenticated();
    await rows.verify('tokens', row);
    return knownToken(row);
  }

  function refuseEnded({ revokedAt, expiresAt }: KnownToken): void {
    if (revokedAt !== null) throw unauthenticated();
    if (expiresAt !== null && expiresAt <= clock.now()) throw unauthenticated();
  }

  return {
    async authenticate(authorization) {
      const text = bearer(authorization);
      const presented = text === undefined ? undefined : parseTokenSecret(text);
      if (!presented) throw unauthenticated();
      const token = cache.peek(presented.id) ?? (await readForStranger(presented.id));
      // An unknown token costs the same comparison, against a hash that no secret has.
      const matches = equalBytes(presented.secretHash, token?.secretHash ?? unknownHash);
      if (!token || !matches) throw unauthenticated();
      refuseEnded(token);
      return token.principal;
    },
    async confirm(principal) {
      if (principal.kind !== 'token' || cache.peek(principal.id)?.principal === principal) return;
      const token = cache.peek(principal.id) ?? (await read(principal.id));
      if (!token) throw unauthenticated();
      refuseEnded(token);
    },
    forget(tokenIds) {
      if (tokenIds === 'everything') cache.clear();
      else for (const id of tokenIds) cache.delete(id);
    },
  };
}

function absent(error: unknown): undefined {
  if (error instanceof ServiceError && error.code === 'access/unauthenticated') return undefined;
  throw error;
}

function knownToken(row: TokenRow): KnownToken {
  return {
    principal: {
      kind: 'token',
      id: row.id,
      name: row.name,
      namespaceId: row.namespace_id,
      scopes: new Set(JSON.parse(row.scopes) as Scope[]),
      keyPatterns: row.key_patterns === null ? undefined : (JSON.parse(row.key_patterns) as string[]),
      expiresAt: row.expires_at ?? undefined,
    },
    secretHash: row.secret_hash,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
  };
}

function bearer(authorization: string | undefined): string | undefined {
  if (authorization === undefined) return undefined;
  return /^bearer +(\S+)$/i.exec(authorization)?.[1];
}

function unauthenticated(): ServiceError {
  return new ServiceError('access/unauthenticated', 'No valid credential was presented.');
}
