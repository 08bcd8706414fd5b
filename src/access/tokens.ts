import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { cutPage, idAfter, type Page, type PageRequest } from '../core/page.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { TokenRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import { type Caller, covers, type Principal } from './caller.ts';
import type { Operations } from './operations.ts';
import { type Scope, serviceScopes } from './scopes.ts';
import { makeTokenSecret } from './token-secret.ts';

export interface TokenView {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly scopes: readonly Scope[];
  /** Undefined: every key of the namespace. */
  readonly keys?: readonly string[];
  /** Milliseconds. */
  readonly createdAt: number;
  readonly expiresAt?: number;
  readonly revokedAt?: number;
}

export interface CreateTokenRequest {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly keys?: readonly string[] | undefined;
  readonly expiresAt?: number | undefined;
  /** Name of another namespace, for administrators of the service. */
  readonly namespace?: string | undefined;
}

export interface Tokens {
  /**
   * Makes a token; its `secret` is in this answer and nowhere else.
   * @throws access/denied for scopes or keys beyond what the caller may hand out, access/namespace-not-found
   */
  create(caller: Caller, request: CreateTokenRequest): Promise<TokenView & { secret: string }>;
  list(caller: Caller, page: PageRequest): Promise<Page<TokenView>>;
  /** Takes effect before it is answered; doing it again changes nothing. @throws access/token-not-found */
  revoke(caller: Caller, tokenId: string): Promise<void>;
}

export function createTokens({
  store,
  rows,
  clock,
  operations,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  operations: Operations;
}): Tokens {
  return {
    create(caller, request) {
      return operations.run(
        caller,
        'access.create-token',
        { kind: 'token', name: request.name },
        async (operation) => {
          checkGrant(caller.principal, request, clock.now());
          const namespace = await namespaceFor(store, rows, caller.principal, request.namespace);
          const id = newId();
          const { text, secretHash } = makeTokenSecret(id);
          const row = await rows.seal('tokens', {
            id,
            namespace_id: namespace.id,
            name: request.name,
            secret_hash: secretHash,
            scopes: JSON.stringify([...new Set(request.scopes)]),
            key_patterns: request.keys === undefined ? null : JSON.stringify([...new Set(request.keys)]),
            created_at: clock.now(),
            expires_at: request.expiresAt ?? null,
            revoked_at: null,
            revision: 1,
          });
          operation.target({ kind: 'token', id, name: request.name });
          await operation.change((tx) => tx.insertInto('tokens').values(row).execute(), { secret: true });
          return { ...tokenView(row, namespace.name), secret: text };
        },
      );
    },

    list(caller, { limit, cursor }) {
      return operations.run(caller, 'access.list-tokens', { kind: 'token' }, async () => {
        const namespaceId = caller.principal.namespaceId;
        const namespace = await namespaceFor(store, rows, caller.principal, undefined);
        const found = await store.db
          .selectFrom('tokens')
          .selectAll()
          .where('namespace_id', '=', namespaceId)
          .where('id', '>', idAfter(cursor))
          .orderBy('id')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => row.id);
        await Promise.all(page.map((row) => rows.verify('tokens', row)));
        return { items: page.map((row) => tokenView(row, namespace.name)), ...next };
      });
    },

    revoke(caller, tokenId) {
      return operations.run(
        caller,
        'access.revoke-token',
        { kind: 'token', id: tokenId },
        async (operation) => {
          const row = await store.db
            .selectFrom('tokens')
            .selectAll()
            .where('id', '=', tokenId)
            .executeTakeFirst();
          const foreign = row?.namespace_id !== caller.principal.namespaceId;
          if (!row || (foreign && !caller.principal.scopes.has('service:admin'))) throw tokenNotFound();
          await rows.verify('tokens', row);
          operation.target({ kind: 'token', id: row.id, name: row.name });
          if (row.revoked_at !== null) return;
          const { mac: _, ...current } = row;
          const next = await rows.seal('tokens', {
            ...current,
            revoked_at: clock.now(),
            revision: row.revision + 1,
          });
          await operation.change(async (tx) => {
            await tx
              .updateTable('tokens')
              .set(next)
              .where('id', '=', row.id)
              .where('revoked_at', 'is', null)
              .execute();
          });
        },
      );
    },
  };
}

/** Nobody hands out more than their reach: service scopes, keys outside their patterns, a longer life. */
function checkGrant(principal: Principal, request: CreateTokenRequest, now: number): void {
  const isServiceAdmin = principal.scopes.has('service:admin');
  const beyond = request.scopes.filter((scope) => serviceScopes.includes(scope));
  if (beyond.length > 0 && !isServiceAdmin) {
    throw new ServiceError('access/denied', 'Only an administrator of the service may grant service scopes.');
  }
  const own = principal.keyPatterns;
  if (own !== undefined && !request.keys?.every((pattern) => own.some((outer) => covers(outer, pattern)))) {
    throw new ServiceError('access/denied', 'The keys of the new token must lie within those of the caller.');
  }
  const end = principal.expiresAt;
  if (end !== undefined && (request.expiresAt ?? Number.POSITIVE_INFINITY) > end) {
    throw new ServiceError(
      'access/denied',
      'The new token must not outlive the one that makes it: set expiresAt.',
    );
  }
  if (request.expiresAt !== undefined && request.expiresAt <= now) {
    throw new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
      errors: [{ pointer: '/expiresAt', detail: 'must be in the future' }],
    });
  }
}

async function namespaceFor(
  store: Store,
  rows: RowAuthenticator,
  principal: Principal,
  name: string | undefined,
): Promise<{ id: string; name: string }> {
  const query = store.db.selectFrom('namespaces').selectAll();
  const found = await (name === undefined
    ? query.where('id', '=', principal.namespaceId)
    : query.where('name', '=', name)
  ).executeTakeFirst();
  const reachable = found && (found.id === principal.namespaceId || principal.scopes.has('service:admin'));
  if (!reachable) throw new ServiceError('access/namespace-not-found', 'There is no such namespace.');
  if (found.id === principal.namespaceId && !principal.scopes.has('access:admin')) {
    throw new ServiceError('access/denied', 'This needs the scope access:admin.');
  }
  await rows.verify('namespaces', found);
  return found;
}

function tokenNotFound(): ServiceError {
  return new ServiceError('access/token-not-found', 'There is no such token.');
}

function tokenView(row: Omit<TokenRow, 'mac'>, namespace: string): TokenView {
  return {
    id: row.id,
    name: row.name,
    namespace,
    scopes: JSON.parse(row.scopes) as Scope[],
    ...(row.key_patterns !== null && { keys: JSON.parse(row.key_patterns) as string[] }),
    createdAt: row.created_at,
    ...(row.expires_at !== null && { expiresAt: row.expires_at }),
    ...(row.revoked_at !== null && { revokedAt: row.revoked_at }),
  };
}
