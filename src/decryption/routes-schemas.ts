import { z } from 'zod';
import { oaepHashes } from '../crypto/oaep.ts';
import { base64Bytes, base64Text, keyRefSchema } from '../http/validation.ts';

export const keyParams = z.strictObject({ key: keyRefSchema });

export const oaepBody = z.strictObject({
  /** The longest is RSA-4096's. Which length it must have the key knows. */
  ciphertext: base64Bytes({ max: 512 }),
  hash: z
    .enum(oaepHashes)
    .optional()
    .transform((value) => value ?? 'sha256')
    .meta({ description: 'Of OAEP and of its MGF1. Default: `sha256`.' }),
  oaepLabel: base64Bytes({ max: 1024 })
    .optional()
    .transform((bytes) => bytes ?? new Uint8Array(0))
    .meta({ contentEncoding: 'base64', description: 'L of RFC 8017, if it was encrypted with one.' }),
  version: z.int().min(1).max(999_999_999).optional().meta({
    description: 'The version whose public key it was encrypted to. Default: the current one.',
  }),
});

export const oaepAnswer = z.object({
  plaintext: base64Text,
  keyId: z.string(),
  keyVersion: z.int().min(1),
});
