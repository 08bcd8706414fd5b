import type { z } from 'zod';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { listQuery, toTimestamp } from '../http/validation.ts';
import type { Namespaces, NamespaceView } from './namespaces.ts';
import {
  createNamespaceBody,
  createTokenBody,
  madeTokenAnswer,
  namespaceAnswer,
  namespacesAnswer,
  type tokenAnswer,
  tokenParams,
  tokensAnswer,
} from './routes-schemas.ts';
import type { Tokens, TokenView } from './tokens.ts';

const tag = 'Access';
export function accessRoutes({ namespaces, tokens }: { namespaces: Namespaces; tokens: Tokens }): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/access/namespaces',
      operationId: 'createNamespace',
      operator: true,
      tag,
      summary: 'Create a namespace with its own key-encryption key',
      idempotent: true,
      request: { body: createNamespaceBody },
      answer: { status: 201, description: 'The namespace.', body: namespaceAnswer },
      problems: ['access/namespace-exists'],
      example: { name: 'retail' },
      handle: async ({ caller, body }) => namespaceOut(await namespaces.create(caller, body)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/access/namespaces',
      operationId: 'listNamespaces',
      operator: true,
      tag,
      summary: 'List the namespaces',
      request: { query: listQuery },
      answer: {
        status: 200,
        description: 'A page of namespaces.',
        body: namespacesAnswer,
      },
      problems: [],
      async handle({ caller, query }) {
        const page = await namespaces.list(caller, query);
        return { ...page, items: page.items.map(namespaceOut) };
      },
    }),
    ...tokenRoutes(tokens),
  ];
}

function tokenRoutes(tokens: Tokens): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/access/tokens',
      operationId: 'createToken',
      operator: true,
      tag,
      summary: 'Create a bearer token; its secret is shown once',
      idempotent: true,
      request: {
        body: createTokenBody,
      },
      answer: {
        status: 201,
        description: 'The token with its secret.',
        body: madeTokenAnswer,
      },
      problems: ['access/namespace-not-found'],
      example: { name: 'checkout', scopes: ['keys:encrypt', 'keys:decrypt'], keys: ['payments*'] },
      async handle({ caller, body }) {
        const { secret, ...token } = await tokens.create(caller, body);
        return { ...tokenOut(token), secret };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/access/tokens',
      operationId: 'listTokens',
      operator: true,
      tag,
      summary: 'List the tokens of the namespace, without their secrets',
      request: { query: listQuery },
      answer: {
        status: 200,
        description: 'A page of tokens.',
        body: tokensAnswer,
      },
      problems: [],
      async handle({ caller, query }) {
        const page = await tokens.list(caller, query);
        return { ...page, items: page.items.map(tokenOut) };
      },
    }),
    defineRoute({
      method: 'delete',
      path: '/v1/access/tokens/{id}',
      operationId: 'revokeToken',
      operator: true,
      tag,
      summary: 'Revoke a token; it is refused from the moment this is answered',
      request: { params: tokenParams },
      answer: { status: 204, description: 'Revoked.' },
      problems: ['access/token-not-found'],
      async handle({ caller, params }) {
        await tokens.revoke(caller, params.id);
        return undefined;
      },
    }),
  ];
}

function namespaceOut({ createdAt, ...namespace }: NamespaceView): z.output<typeof namespaceAnswer> {
  return { ...namespace, createdAt: toTimestamp(createdAt) };
}

function tokenOut({ createdAt, expiresAt, revokedAt, keys, scopes: held, ...token }: TokenView) {
  return {
    ...token,
    scopes: [...held],
    ...(keys && { keys: [...keys] }),
    createdAt: toTimestamp(createdAt),
    ...(expiresAt !== undefined && { expiresAt: toTimestamp(expiresAt) }),
    ...(revokedAt !== undefined && { revokedAt: toTimestamp(revokedAt) }),
  } satisfies z.output<typeof tokenAnswer>;
}
