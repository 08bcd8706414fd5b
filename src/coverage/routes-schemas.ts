import { z } from 'zod';
import { keyRefSchema, listQuery, plainText, timestampText } from '../http/validation.ts';

export const keyParams = z.strictObject({ key: keyRefSchema });
export const coverageQuery = listQuery;

const name = plainText({ min: 1, max: 256 });
const count = z
  .int()
  .min(0)
  .max(2 ** 50);
const version = z.int().min(1).max(999_999_999);

const place = z
  .strictObject({
    system: z.enum(['postgres', 'sqlite', 'other']),
    database: name.meta({ description: 'Its name among others, without user and password.' }),
    table: name,
    column: name,
    pointer: plainText({ min: 1, max: 256 }).optional().meta({ description: 'JSON Pointer in the column.' }),
  })
  .meta({ description: 'Where was looked. A report speaks of it alone.' });

const versions = z
  .array(
    z.strictObject({
      version,
      versionId: z.string().max(64),
      found: count.meta({ description: 'In all: rewrapped, and those that remain.' }),
      rewrapped: count,
      failed: count,
      remaining: count.meta({ description: 'Found by the last scan.' }),
    }),
  )
  .max(5_000)
  .meta({ description: 'Of each version of which something was found.' });

const found = {
  rows: count,
  nulls: count,
  foreign: count.meta({ description: 'Ciphertexts of other keys.' }),
  unreadable: count.meta({ description: 'No ciphertexts, or of no version that is known.' }),
  versions,
};

export const reportBody = z.strictObject({
  place,
  currentVersion: version.meta({ description: 'Current when the scan began: it speaks of those before it.' }),
  agreed: z.boolean().meta({ description: 'Two scans in a row found the same.' }),
  scanSeconds: z
    .number()
    .min(0)
    .max(30 * 86_400)
    .meta({ description: 'How long ago the first of them began. The service has its own clock.' }),
  ...found,
});

export const reportAnswer = z.object({
  id: z.string(),
  keyId: z.string(),
  place: z.object({
    system: z.enum(['postgres', 'sqlite', 'other']),
    database: z.string(),
    table: z.string(),
    column: z.string(),
    pointer: z.string().optional(),
  }),
  currentVersion: z.int(),
  rows: z.int(),
  nulls: z.int(),
  foreign: z.int(),
  unreadable: z.int(),
  versions: z.array(
    z.object({
      version: z.int(),
      versionId: z.string(),
      found: z.int(),
      rewrapped: z.int(),
      failed: z.int(),
      remaining: z.int(),
    }),
  ),
  agreed: z.boolean(),
  complete: z.boolean().meta({
    description:
      'Two scans agreed that nothing is left of any version before the current one, in this place.',
  }),
  reportedBy: z.string(),
  scanStartedAt: timestampText,
  createdAt: timestampText,
});

export const reportsAnswer = z.object({ items: z.array(reportAnswer), nextCursor: z.string().optional() });
