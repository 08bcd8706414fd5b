import { z } from 'zod';
import { base64Bytes, base64Text, contextSchema, keyRefSchema } from '../http/validation.ts';
import { generateMacBody, macAnswer, verifiedMacAnswer, verifyMacBody } from '../macs/routes-schemas.ts';
import { signatureAnswer, signBody, verifyBody } from '../signing/routes-schemas.ts';

/** What fits into a body of 1 MiB as base64, with room for a context. */
const plaintextLimitBytes = 720 * 1024;
/** Bodies that carry a ciphertext: every plaintext that was taken comes back, with the longest contexts. */
export const ciphertextBodyBytes = 2 * 1024 * 1024;

const context = contextSchema.optional().transform((pairs) => pairs ?? {});
const plaintext = base64Bytes({ max: plaintextLimitBytes });
/** Foreign formats may be longer: they are refused as undecryptable, not as invalid. */
const ciphertext = base64Bytes({ max: plaintextLimitBytes + 8_192 });
const count = z
  .int()
  .min(1)
  .max(100)
  .optional()
  .transform((value) => value ?? 1);
const dataKeyBytes = z
  .int()
  .min(16)
  .max(64)
  .optional()
  .transform((value) => value ?? 32);
const flag = z
  .boolean()
  .optional()
  .transform((value) => value ?? false);
const randomBytes = z.int().min(1).max(65_536);

export const keyParams = z.strictObject({ key: keyRefSchema });

export const encryptBody = z.strictObject({ plaintext, context });
export const decryptBody = z.strictObject({ ciphertext, context });
export const rewrapBody = z.strictObject({
  ciphertext,
  context,
  toKey: keyRefSchema.optional(),
  toContext: contextSchema.optional(),
});
export const dataKeysBody = z.strictObject({ count, bytes: dataKeyBytes, context, plaintext: flag });
export const randomBody = z.strictObject({ bytes: randomBytes });

/** A line of many. */
export const rewrapLine = z.strictObject({ id: z.string().max(256).optional(), ciphertext, context });

const keyVersion = z.int().min(1);
const keyId = z.string();
export const sealedAnswer = z.object({ ciphertext: base64Text, keyId, keyVersion });
export const openedAnswer = z.object({ plaintext: base64Text, keyId, keyVersion });
export const dataKeysAnswer = z.object({
  items: z.array(z.object({ plaintext: base64Text.optional(), wrapped: base64Text, keyVersion })),
});
export const randomAnswer = z.object({ bytes: base64Text });

const id = z.string().max(64).optional();
const key = keyRefSchema;

/** One item of a batch; each is checked alone, so that a bad one fails alone. */
export const batchItem = z.discriminatedUnion('operation', [
  z.strictObject({ id, operation: z.literal('encrypt'), key, plaintext, context }),
  z.strictObject({ id, operation: z.literal('decrypt'), key: key.optional(), ciphertext, context }),
  z.strictObject({
    id,
    operation: z.literal('rewrap'),
    key,
    ciphertext,
    context,
    toKey: key.optional(),
    toContext: contextSchema.optional(),
  }),
  z.strictObject({
    id,
    operation: z.literal('data-keys'),
    key,
    count,
    bytes: dataKeyBytes,
    context,
    plaintext: flag,
  }),
  // A thousand items together stay within what one answer should weigh.
  z.strictObject({ id, operation: z.literal('random'), bytes: z.int().min(1).max(4096) }),
  z.strictObject({ id, operation: z.literal('mac'), key, ...generateMacBody.shape }),
  z.strictObject({ id, operation: z.literal('verify-mac'), key, ...verifyMacBody.shape }),
  z.strictObject({ id, operation: z.literal('sign'), key, ...signBody.shape }),
  z.strictObject({ id, operation: z.literal('verify'), key, ...verifyBody.shape }),
]);

const { $schema: _, ...batchItemJson } = z.toJSONSchema(batchItem, { io: 'input', unrepresentable: 'any' });

export const batchBody = z.strictObject({
  operations: z.array(z.unknown().meta(batchItemJson)).min(1).max(1000),
});

const problem = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.string(),
});

const lineNumber = z.int().min(1).meta({ description: 'Of the body, from 1.' });
const lineId = z.string().optional();
const counted = z.int().optional();

/** What a line is answered, and the last line of all. */
export const rewrapLinesAnswer = z.union([
  z.object({
    line: lineNumber,
    id: lineId,
    status: z.literal('rewrapped'),
    ciphertext: base64Text,
    keyId,
    fromVersion: keyVersion,
    keyVersion,
  }),
  z.object({ line: lineNumber, id: lineId, status: z.literal('newest'), keyId, keyVersion }),
  z.object({ line: lineNumber, id: lineId, status: z.literal('failed'), problem }),
  z.object({
    end: z.object({
      lines: z.int(),
      rewrapped: counted,
      newest: counted,
      failed: counted,
      problem: problem.optional().meta({ description: 'Why lines are left without an answer.' }),
    }),
  }),
]);

export const batchAnswer = z.object({
  results: z.array(
    z.union([
      z.object({ id, status: z.literal(200), ...sealedAnswer.shape }),
      z.object({ id, status: z.literal(200), ...openedAnswer.shape }),
      z.object({ id, status: z.literal(200), ...dataKeysAnswer.shape }),
      z.object({ id, status: z.literal(200), ...randomAnswer.shape }),
      z.object({ id, status: z.literal(200), ...macAnswer.shape }),
      z.object({ id, status: z.literal(200), ...verifiedMacAnswer.shape }),
      z.object({ id, status: z.literal(200), ...signatureAnswer.shape }),
      z.object({ id, status: z.int().min(400), problem }),
    ]),
  ),
});
