import { z } from 'zod';
import { base64Bytes, base64Text, keyRefSchema, plainText } from '../http/validation.ts';

export const keyParams = z.strictObject({ key: keyRefSchema });

export const version = z.int().min(1).max(999_999_999).optional().meta({
  description:
    'The version that the ciphertext or the peer is for, as `keyVersion` told it. Default: the current one.',
});
export const info = base64Bytes({ max: 1024 })
  .optional()
  .transform((bytes) => bytes ?? new Uint8Array(0))
  .meta({
    contentEncoding: 'base64',
    description: 'Of the application: names, a session, a message. Both sides give the same.',
  });
/** The longest is ML-KEM-1024's. Which length it must have the key knows. */
const ciphertext = base64Bytes({ max: 1568 });
const confirmation = base64Bytes({ min: 32, max: 32 });

export const encapsulateBody = z.strictObject({ info });
export const decapsulateBody = z.strictObject({
  ciphertext,
  version,
  info,
  confirmation: confirmation.optional(),
});
export const confirmBody = z.strictObject({ ciphertext, version, info, confirmation });
export const deriveBody = z.strictObject({
  peerPublicKey: base64Bytes({ max: 97 }).meta({
    contentEncoding: 'base64',
    description: 'Raw: 32 bytes of X25519, or an uncompressed point.',
  }),
  version,
  label: plainText({ min: 1, max: 128 }).meta({
    description: 'What the key is for. One label, one purpose.',
  }),
  info,
  bytes: z
    .int()
    .min(16)
    .max(1024)
    .optional()
    .transform((value) => value ?? 32),
});

export const made = { keyId: z.string(), keyVersion: z.int().min(1) };
export const encapsulatedAnswer = z.object({
  ciphertext: base64Text,
  sharedSecret: base64Text,
  confirmation: base64Text.meta({ description: 'To be sent along with the ciphertext.' }),
  expectedConfirmation: base64Text.meta({ description: 'What the other side answers if it has the secret.' }),
  ...made,
});
export const decapsulatedAnswer = z.object({
  sharedSecret: base64Text,
  confirmation: base64Text.meta({ description: 'To be sent back.' }),
  ...made,
});
export const confirmedAnswer = z.object({ confirmation: base64Text, ...made });
export const derivedAnswer = z.object({ derived: base64Text, ...made });
