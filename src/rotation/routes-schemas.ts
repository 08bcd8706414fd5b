import { z } from 'zod';
import { purposes } from '../crypto/suites.ts';
import { keyRefSchema, listQuery, plainText, timestampText } from '../http/validation.ts';
import { weekdays } from './policy.ts';

export const keyParams = z.strictObject({ key: keyRefSchema });

const timeZone = plainText({ min: 1, max: 64 }).meta({
  description: 'Of the IANA database, as `Europe/Berlin`.',
});

const policy = z
  .strictObject({
    everyDays: z.int().min(1).max(3_650).optional(),
    everySeconds: z
      .int()
      .min(1)
      .max(31_536_000)
      .optional()
      .meta({ description: 'Not below `STATHERA_ROTATION_MIN_SECONDS`.' }),
    cron: z
      .strictObject({
        expression: plainText({ min: 9, max: 100 }).meta({
          description: 'Five fields: minute, hour, day, month, weekday; six with seconds first.',
        }),
        timeZone,
      })
      .optional(),
    after: z
      .strictObject({
        encryptions: z.int().min(1_000).max(1_000_000_000).optional(),
        bytes: z
          .int()
          .min(1_000_000)
          .max(2 ** 50)
          .optional(),
      })
      .optional()
      .meta({
        description:
          'By what one version has encrypted, counted in blocks of a 64th that each process reserves: earlier by at most ' +
          'one block a process. Only keys that encrypt.',
      }),
    jitterSeconds: z
      .int()
      .min(0)
      .max(604_800)
      .optional()
      .meta({ description: 'Dates are put off by up to so long, by as much for the same key always.' }),
    windows: z
      .strictObject({
        timeZone,
        opens: z
          .array(
            z.strictObject({
              days: z.array(z.enum(weekdays)).max(7).optional().meta({ description: 'Default: every day.' }),
              at: z
                .string()
                .regex(/^([01]\d|2[0-3]):[0-5]\d$/)
                .meta({ description: 'Local, as `02:30`.' }),
              minutes: z.int().min(1).max(1_440),
            }),
          )
          .max(14),
      })
      .optional()
      .meta({ description: 'The service rotates by date while one of these is open.' }),
  })
  .meta({
    description:
      'When a key is rotated: at most one of `everyDays`, `everySeconds` and `cron`, and of these and `after` at least one.',
  });

const paused = z.boolean();

export const policyBody = z.strictObject({
  policy: policy
    .nullable()
    .optional()
    .meta({ description: 'Null: the default of the namespace, or none. Absent: as it is.' }),
  paused: paused
    .optional()
    .meta({ description: 'Until it is false again, neither dates nor counts rotate the key.' }),
});

export const planBody = z.strictObject({
  policy: policy.optional().meta({ description: 'Default: the key’s own. It is not set by that.' }),
  days: z
    .int()
    .min(1)
    .max(3_650)
    .optional()
    .transform((days) => days ?? 365)
    .meta({ description: 'Default 365.' }),
});

export const policyAnswer = z.object({
  keyId: z.string(),
  source: z.enum(['key', 'namespace', 'none']),
  policy: policy.optional(),
  paused,
  nextAt: timestampText.optional().meta({ description: 'When the service rotates it next, by date.' }),
  dueAt: timestampText.optional().meta({ description: 'What the policy says, where that is another date.' }),
  reason: z.enum(['none', 'external', 'disabled', 'paused', 'failed', 'window', 'date', 'usage', 'unusable']),
  why: z.string().meta({ description: 'The reason in a sentence.' }),
  failures: z.int().meta({ description: 'Tries that failed since the last rotation.' }),
  code: z.string().optional().meta({ description: 'Why the last try was none.' }),
});

export const planAnswer = z.object({
  keyId: z.string(),
  dates: z.array(timestampText),
  more: z.boolean().meta({ description: 'There are more than 400.' }),
});

const rotationAnswer = z.object({
  fromVersion: z.int().meta({ description: '0: it is the first.' }),
  toVersion: z.int(),
  cause: z.enum(['scheduled', 'manual', 'usage', 'import']),
  rotatedAt: timestampText,
  dueAt: timestampText.optional(),
  by: z.object({ kind: z.string(), id: z.string(), name: z.string() }),
});

const nextCursor = z.string().optional();
export const rotationsAnswer = z.object({ items: z.array(rotationAnswer), nextCursor });

export const defaultBody = z.strictObject({
  policy: policy.nullable().meta({ description: 'Null: keys get none.' }),
  purposes: z
    .array(z.enum(purposes))
    .min(1)
    .max(purposes.length)
    .optional()
    .transform((value) => value ?? ['encrypt' as const, 'mac' as const])
    .meta({ description: 'Which keys get it. Default `encrypt` and `mac`.' }),
  existingKeys: z
    .boolean()
    .optional()
    .transform((value) => value ?? false)
    .meta({
      description: 'Also keys that are there and have no policy of their own, by a job. Default false.',
    }),
});

export const defaultAnswer = z.object({
  policy: policy.optional().meta({ description: 'Absent: keys get none.' }),
  purposes: z.array(z.string()),
  updatedAt: timestampText.optional().meta({ description: 'Absent: it is the service’s own.' }),
  jobId: z.string().optional().meta({ description: 'The job that brings it to existing keys.' }),
});

const daysText = z
  .string()
  .regex(/^(?:[1-9]\d{0,2})$/)
  .transform(Number)
  .meta({ type: 'integer', minimum: 1, maximum: 999 });

export const upcomingQuery = listQuery.extend({
  days: daysText
    .optional()
    .transform((days) => days ?? 30)
    .meta({ description: 'So far ahead. Default 30.' }),
});

const named = policyAnswer.extend({ name: z.string() });

export const upcomingAnswer = z.object({
  items: z.array(named.extend({ dates: z.array(timestampText) })),
  nextCursor,
});

export const statusAnswer = z.object({
  scheduled: z.int(),
  paused: z.int(),
  overdue: z.int(),
  failing: z.int(),
  lagMilliseconds: z.int().meta({ description: 'How long what waits longest is overdue.' }),
  nextAt: timestampText.optional(),
  failingKeys: z.array(named).meta({ description: 'Up to 20.' }),
  pausedKeys: z.array(named).meta({ description: 'Up to 20.' }),
});
