import { z } from 'zod';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { keyNameSchema, listQuery, timestamp, timestampText, toTimestamp } from '../http/validation.ts';
import type { Namespaces, NamespaceView } from './namespaces.ts';
import { scopes } from './scopes.ts';
import type { Tokens, TokenView } from './tokens.ts';

const tag = 'Access';
const keyPattern = z
  .string()
  .regex(/^(?:\*|[a-z0-9][a-z0-9._-]{0,62}\*?)$/)
  .meta({ description: 'A key name, a key id, or the beginning of a name followed by `*`.' });

const namespaceAnswer = z.object({
  id: z.string(),
  name: z.string(),
  region: z.string(),
  createdAt: timestampText,
});
const tokenAnswer = z.object({
  id: z.string(),
  name: z.string(),
  namespace: z.string(),
  scopes: z.array(z.enum(scopes)),
  keys: z.array(z.string()).optional(),
  createdAt: timestampText,
  expiresAt: timestampText.optional(),
  revokedAt: timestampText.optional(),
});
const nextCursor = z.string().optional();

export function accessRoutes({ namespaces, tokens }: { namespaces: Namespaces; tokens: Tokens }): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/access/namespaces',
      operationId: 'createNamespace',
      tag,
      summary: 'Create a namespace with its own key-encryption key',
      idempotent: true,
      request: { body: z.strictObject({ name: keyNameSchema, region: keyNameSchema.optional() }) },
      answer: { status: 201, description: 'The namespace.', body: namespaceAnswer },
      problems: ['access/namespace-exists'],
      example: { name: 'retail' },
      handle: async ({ caller, body }) => namespaceOut(await namespaces.create(caller, body)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/access/namespaces',
      operationId: 'listNamespaces',
      tag,
      summary: 'List the namespaces',
      request: { query: listQuery },
      answer: {
        status: 200,
        description: 'A page of namespaces.',
        body: z.object({ items: z.array(namespaceAnswer), nextCursor }),
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
      tag,
      summary: 'Create a bearer token; its secret is shown once',
      idempotent: true,
      request: {
        body: z.strictObject({
          name: keyNameSchema,
          scopes: z.array(z.enum(scopes)).min(1).max(scopes.length),
          keys: z.array(keyPattern).min(1).max(100).optional(),
          expiresAt: timestamp.optional(),
          namespace: keyNameSchema.optional(),
        }),
      },
      answer: {
        status: 201,
        description: 'The token with its secret.',
        body: tokenAnswer.extend({ secret: z.string() }),
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
      tag,
      summary: 'List the tokens of the namespace, without their secrets',
      request: { query: listQuery },
      answer: {
        status: 200,
        description: 'A page of tokens.',
        body: z.object({ items: z.array(tokenAnswer), nextCursor }),
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
      tag,
      summary: 'Revoke a token; it is refused from the moment this is answered',
      request: { params: z.strictObject({ id: z.string().min(1).max(64) }) },
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
