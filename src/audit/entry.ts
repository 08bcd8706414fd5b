import { z } from 'zod';
import { errorCodes } from '../core/errors.ts';

/**
 * What the log says of one operation. The schema is the redaction: there is no member that could carry a
 * payload, a key, a token or free text of a caller other than names that passed the name rule.
 */
const name = z.string().max(128);
const id = z.string().max(64);

export const auditTargetSchema = z.strictObject({
  kind: z.enum(['key', 'token', 'namespace', 'job', 'dataset', 'webhook', 'schema', 'audit', 'service']),
  id: id.optional(),
  name: name.optional(),
  version: z.int().optional(),
});

const outcome = z.enum(['allowed', 'refused', 'failed']);

export const auditItemSchema = z.strictObject({
  action: z.string().max(64),
  target: auditTargetSchema.optional(),
  outcome,
  code: z.enum(errorCodes).optional(),
  /** How many it stands for: values of fields, or documents. */
  count: z.int().optional(),
});

export const auditEntrySchema = z.strictObject({
  /** UUIDv7 of the record. */
  id,
  /** Milliseconds since the epoch, by the service's clock. */
  time: z.int(),
  namespaceId: id,
  requestId: z.string().max(128),
  principal: z.strictObject({
    kind: z.enum(['token', 'anonymous', 'system']),
    id: id.optional(),
    name: name.optional(),
  }),
  /** The peer's address. */
  source: z.string().max(64).optional(),
  /** `area.verb`, e.g. `envelope.encrypt`. */
  action: z.string().max(64),
  target: auditTargetSchema.optional(),
  /** `allowed`: done. `refused`: not permitted or no such thing. `failed`: permitted but not done. */
  outcome,
  code: z.enum(errorCodes).optional(),
  /** A batch is one record that lists its items. */
  items: z.array(auditItemSchema).max(1000).optional(),
  /** How many like it this record stands for (unauthenticated refusals). */
  count: z.int().optional(),
  /** An earlier answer was given again (Idempotency-Key). */
  replayed: z.boolean().optional(),
});

export type AuditTarget = z.infer<typeof auditTargetSchema>;
export type AuditItem = z.infer<typeof auditItemSchema>;
export type AuditEntry = z.infer<typeof auditEntrySchema>;
