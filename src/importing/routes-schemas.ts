import { z } from 'zod';
import { checkValueBytes } from '../crypto/check-value.ts';
import { importWrappings } from '../crypto/import-wrapping.ts';
import { algorithms } from '../crypto/suites.ts';
import {
  base64Bytes,
  base64Text,
  keyRefSchema,
  plainText,
  timestamp,
  timestampText,
} from '../http/validation.ts';
import { keyAnswer } from '../keys/routes-schemas.ts';

export const keyParams = z.strictObject({ key: keyRefSchema });

export const parametersBody = z.strictObject({
  wrapping: z
    .enum(importWrappings)
    .optional()
    .transform((value) => value ?? 'hpke-x-wing')
    .meta({
      description:
        '`hpke-x-wing` (default): HPKE to an X-Wing key. `rsa-aes-key-wrap-sha-256`: an AES key under RSA-4096 OAEP with ' +
        'SHA-256, and the key under that by AES key wrap with padding, one after the other.',
    }),
  expiresInSeconds: z
    .int()
    .min(1)
    .max(86_400)
    .optional()
    .transform((value) => value ?? 86_400),
});

const checkValue = base64Bytes({ min: checkValueBytes, max: checkValueBytes }).optional().meta({
  contentEncoding: 'base64',
  description: 'First 5 bytes of AES-CMAC under the key of 16 zero bytes (of 48 and 64 bytes, of HMAC).',
});

export const importBody = z.strictObject({
  importId: plainText({ max: 64 }).meta({ description: 'As `import-parameters` gave it.' }),
  /** The longest is RSA's: the modulus, and a key of 64 bytes wrapped. */
  wrappedKey: base64Bytes({ max: 2048 }),
  checkValue,
  expiresAt: timestamp.optional(),
});

export const parametersAnswer = z.object({
  importId: z.string(),
  keyId: z.string(),
  algorithm: z.enum(algorithms),
  keyBytes: z.int(),
  wrapping: z.enum(importWrappings),
  publicKey: base64Text.meta({ description: 'Of X-Wing raw, of RSA SubjectPublicKeyInfo in DER.' }),
  suite: z
    .string()
    .optional()
    .meta({ description: 'Of HPKE: KEM, KDF and AEAD, and of drafts their versions.' }),
  info: base64Text.optional().meta({ description: 'Of HPKE: what the import is bound to.' }),
  expiresAt: timestampText,
});

export const importedAnswer = keyAnswer.extend({ checkValue: base64Text });
