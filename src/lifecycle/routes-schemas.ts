import { z } from 'zod';
import { keyRefSchema, plainText, timestampText } from '../http/validation.ts';
import { violate } from '../http/violations.ts';

export const keyParams = z.strictObject({ key: keyRefSchema });

const ordinal = z.int().min(1).max(999_999_999);
const versions = z.array(ordinal).min(1).max(500);
const windowSeconds = z.int().min(1).max(2_592_000);
const reason = plainText({ min: 1, max: 256 });
const dryRun = z.boolean().optional();

export const destroyBody = z.strictObject({
  versions: versions.optional().meta({
    description: 'Absent: all of a disabled key that are neither destroyed nor scheduled, up to 500.',
  }),
  windowSeconds: windowSeconds.optional().meta({
    description:
      'How long they can be restored: 7 to 30 days unless the service is set otherwise. Default 30 days.',
  }),
  reason: reason.optional().meta({
    description: 'Destroys them although it is not known that nothing depends on them. Kept in the record.',
  }),
  dryRun: dryRun.meta({ description: 'Changes nothing, and shows what would be.' }),
});

export const restoreBody = z.strictObject({
  versions: versions.optional().meta({ description: 'Absent: all that are scheduled, up to 500.' }),
});

export const retentionBody = z
  .strictObject({
    keepLatest: z.int().min(1).max(1_000_000).optional(),
    retireAfterSeconds: z.int().min(1).max(3_153_600_000).optional(),
    finally: z
      .enum(['retire', 'disable', 'destroy'])
      .optional()
      .meta({
        description:
          'What becomes of superseded versions that are past their time. `retire`: decrypt-only. `disable`, `destroy`: ' +
          'first that, then this, once the coverage is complete. Default `retire`.',
      }),
    windowSeconds: windowSeconds.optional(),
    reason: reason.optional().meta({
      description: 'Disables or destroys them although it is not known that nothing depends on them.',
    }),
    dryRun: dryRun.meta({ description: 'Changes nothing, and shows what would be due.' }),
  })
  .transform((body, context) => {
    if (body.keepLatest === undefined && body.retireAfterSeconds === undefined)
      return violate(context, { rule: 'either', or: 'retireAfterSeconds' }, ['keepLatest']);
    return body;
  });

const versionState = z.enum(['enabled', 'decrypt-only', 'disabled', 'destroy-scheduled', 'destroyed']);

const coverageAnswer = z.object({
  found: z.int().min(0),
  remaining: z.int().min(0),
  at: timestampText,
  report: z.string(),
});

const refusal = z.object({ code: z.string(), detail: z.string() });

export const planAnswer = z.object({
  keyId: z.string(),
  dryRun: z.boolean(),
  windowSeconds: z.int(),
  destroyAt: timestampText,
  dataKeySeconds: z.int().meta({
    description:
      'So long the service itself goes on with data keys that it opened. Clients may keep theirs for longer.',
  }),
  versions: z.array(
    z.object({
      version: z.int(),
      state: versionState.meta({ description: 'Before.' }),
      usesReserved: z.int(),
      lastUsedAt: timestampText.optional(),
      coverage: coverageAnswer.optional().meta({ description: 'Absent: nobody knows what depends on it.' }),
      effect: z.enum(['nothing', 'unknown', 'unreadable']).meta({
        description: 'What becomes unreadable, as far as the service can know.',
      }),
      refusal: refusal.optional().meta({ description: 'Of a dry run: why it would be refused.' }),
    }),
  ),
});

export const restoredAnswer = z.object({ keyId: z.string(), versions: z.array(z.int()) });

const destructionRecord = z.object({
  format: z.literal('stathera/destruction/v1'),
  destructionId: z.string(),
  namespaceId: z.string(),
  keyId: z.string(),
  keyName: z.string(),
  versionId: z.string(),
  version: z.int(),
  algorithm: z.string(),
  kekId: z.string(),
  wrappedKeySha256: z.string(),
  requestedBy: z.string(),
  scheduledAt: timestampText,
  destroyAt: timestampText,
  destroyedAt: timestampText,
  coverage: z.object({ found: z.int(), remaining: z.int(), report: z.string() }).optional(),
  forcedFor: z.string().optional(),
  claims: z.object({ destroyed: z.string(), unrecoverable: z.boolean(), notClaimed: z.string() }),
  tag: z.string().meta({ description: 'HMAC-SHA-256 in hex.' }),
});

export const destructionsAnswer = z.object({
  items: z.array(
    z.object({
      id: z.string(),
      version: z.int(),
      state: z.enum(['scheduled', 'restored', 'destroyed']),
      previousState: versionState,
      requestedBy: z.string(),
      reason: z.string().optional(),
      scheduledAt: timestampText,
      destroyAt: timestampText,
      endedAt: timestampText.optional(),
      record: destructionRecord.optional().meta({
        description: 'Signed by the audit key: `stathera keys verify-destruction` checks it.',
      }),
    }),
  ),
  nextCursor: z.string().optional(),
});

export const retentionAnswer = z.object({
  keyId: z.string(),
  policy: z
    .object({
      keepLatest: z.int().optional(),
      retireAfterSeconds: z.int().optional(),
      finally: z.enum(['retire', 'disable', 'destroy']),
      windowSeconds: z.int(),
      reason: z.string().optional(),
    })
    .optional()
    .meta({ description: 'Absent: versions stay until somebody decides.' }),
  nextAt: timestampText.optional(),
  versions: z
    .array(
      z.object({
        version: z.int(),
        state: versionState,
        step: z.enum(['retire', 'disable', 'destroy']),
        held: z.enum(['coverage-unknown', 'coverage-incomplete', 'restored']).optional(),
      }),
    )
    .meta({ description: 'The next steps that are due, oldest version first, 100 at most.' }),
});
