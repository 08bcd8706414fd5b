import { z } from 'zod';
import { keyNameSchema, timestamp, timestampText } from '../http/validation.ts';
import { scopes } from './scopes.ts';

const keyPattern = z
  .string()
  .regex(/^(?:\*|[a-z0-9][a-z0-9._-]{0,62}\*?)$/)
  .meta({ description: 'A key name, a key id, or the beginning of a name followed by `*`.' });

export const namespaceAnswer = z.object({
  id: z.string(),
  name: z.string(),
  region: z.string(),
  createdAt: timestampText,
});
export const tokenAnswer = z.object({
  id: z.string(),
  name: z.string(),
  namespace: z.string(),
  scopes: z.array(z.enum(scopes)),
  keys: z.array(z.string()).optional(),
  createdAt: timestampText,
  expiresAt: timestampText.optional(),
  revokedAt: timestampText.optional(),
});
export const madeTokenAnswer = tokenAnswer.extend({ secret: z.string() });
const nextCursor = z.string().optional();
export const namespacesAnswer = z.object({ items: z.array(namespaceAnswer), nextCursor });
export const tokensAnswer = z.object({ items: z.array(tokenAnswer), nextCursor });

export const createNamespaceBody = z.strictObject({ name: keyNameSchema, region: keyNameSchema.optional() });
export const createTokenBody = z.strictObject({
  name: keyNameSchema,
  scopes: z.array(z.enum(scopes)).min(1).max(scopes.length),
  keys: z.array(keyPattern).min(1).max(100).optional(),
  expiresAt: timestamp.optional(),
  namespace: keyNameSchema.optional(),
});
export const tokenParams = z.strictObject({ id: z.string().min(1).max(64) });
