import { z } from 'zod';
import { importWrappings, isImportable } from '../crypto/import-wrapping.ts';
import {
  type Algorithm,
  algorithms,
  decryptAlgorithms,
  exchangeAlgorithms,
  type Purpose,
  purposes,
  signAlgorithms,
  suites,
} from '../crypto/suites.ts';
import {
  base64Text,
  keyNameSchema,
  keyRefSchema,
  plainText,
  tagsSchema,
  timestampText,
} from '../http/validation.ts';
import { violate } from '../http/violations.ts';

const ordinal = z
  .string()
  .regex(/^[1-9][0-9]{0,8}$/)
  .transform(Number)
  .meta({ type: 'integer', minimum: 1 });

export const keyParams = z.strictObject({ key: keyRefSchema });
export const versionParams = z.strictObject({ key: keyRefSchema, version: ordinal });

const description = plainText({ max: 1024 });

const dataKeyReuse = z
  .strictObject({
    messages: z.int().min(1).max(1_000_000),
    bytes: z
      .int()
      .min(1)
      .max(2 ** 40),
    seconds: z.int().min(1).max(86_400),
  })
  .meta({
    description:
      'Encrypt under data keys in process memory, each for so many messages and bytes and so long, and keep those that ' +
      'decrypt as long: for HSMs that are slow or far away. Absent: every message goes through the HSM.',
  });

const defaultAlgorithms: Readonly<Record<Purpose, Algorithm>> = {
  encrypt: 'aes-256-gcm',
  decrypt: 'rsa-oaep-3072',
  exchange: 'x-wing',
  fields: 'kdf-hmac-sha-256',
  mac: 'hmac-sha-256',
  sign: 'ml-dsa-65',
};

/** `purpose` and `algorithm` each have a default by the other. */
export const createBody = z
  .strictObject({
    name: keyNameSchema,
    algorithm: z
      .enum(algorithms)
      .optional()
      .meta({
        description:
          'Default `aes-256-gcm`; for the purpose `decrypt` `rsa-oaep-3072`, for `exchange` `x-wing`, for `fields` `kdf-hmac-sha-256`, for `mac` `hmac-sha-256`, for `sign` ' +
          '`ml-dsa-65`.',
      }),
    purpose: z.enum(purposes).optional().meta({ description: 'Default: what the algorithm is for.' }),
    description: description.optional().transform((value) => value ?? ''),
    tags: tagsSchema.optional().transform((value) => value ?? {}),
    dataKeyReuse: dataKeyReuse.optional(),
    origin: z
      .enum(['hsm', 'external'])
      .optional()
      .meta({
        description:
          'Where its versions are made. `external`: elsewhere; it has none until one is imported, and is not rotated. ' +
          'Default `hsm`.',
      }),
  })
  .transform(({ purpose, ...body }, context) => {
    const algorithm: Algorithm = body.algorithm ?? defaultAlgorithms[purpose ?? 'encrypt'];
    const actual = suites[algorithm].purpose;
    if (actual !== (purpose ?? actual)) return violate(context, { rule: 'purpose' }, ['purpose']);
    if (actual !== 'encrypt' && body.dataKeyReuse)
      return violate(context, { rule: 'purpose' }, ['dataKeyReuse']);
    if (body.origin === 'external' && !isImportable(suites[algorithm]))
      return violate(context, { rule: 'purpose' }, ['origin']);
    return { ...body, algorithm };
  });

export const updateBody = z.strictObject({
  description: description.optional(),
  tags: tagsSchema.optional(),
  state: z.enum(['enabled', 'disabled']).optional(),
  dataKeyReuse: dataKeyReuse.nullable().optional(),
});

export const updateVersionBody = z.strictObject({ state: z.enum(['enabled', 'decrypt-only', 'disabled']) });

export const keyAnswer = z.object({
  id: z.string(),
  name: z.string(),
  algorithm: z.enum(algorithms),
  purpose: z.string(),
  protection: z.string().meta({
    description:
      'Where the secret is while it is used. `hsm`: in the token alone. `derived`: in the token, and a key derived ' +
      'for each message in process memory. `hsm-sealed`: in process memory, sealed by the token at rest.',
  }),
  state: z.enum(['enabled', 'disabled']),
  description: z.string(),
  tags: z.record(z.string(), z.string()),
  currentVersion: z.int().min(0).meta({ description: '0: none was imported yet.' }),
  origin: z.enum(['hsm', 'external']),
  dataKeyReuse: dataKeyReuse.optional(),
  createdAt: timestampText,
  updatedAt: timestampText,
  lastUsedAt: timestampText.optional(),
});

export const rotateAnswer = keyAnswer.extend({
  existing: z.string().meta({ description: 'What becomes of what older versions made.' }),
});

const versionStates = ['enabled', 'decrypt-only', 'disabled', 'destroy-scheduled', 'destroyed'] as const;
export const versionAnswer = z.object({
  id: z.string(),
  version: z.int().min(1),
  algorithm: z.enum(algorithms),
  protection: z.string(),
  state: z.enum(versionStates),
  origin: z.enum(['hsm', ...importWrappings]).meta({
    description:
      '`hsm`: made there. Else imported, wrapped as named: the key was in the service’s memory when it was imported, ' +
      'and may be elsewhere still.',
  }),
  createdAt: timestampText,
  expiresAt: timestampText.optional(),
  lastUsedAt: timestampText.optional(),
  usesReserved: z.int().meta({ description: 'Upper bound of the encryptions made, counted in blocks.' }),
});

export const usageAnswer = z.object({
  keyId: z.string(),
  currentVersion: z.int().min(0).meta({ description: '0: none was imported yet.' }),
  usesReserved: z.int().meta({
    description: 'Upper bound of the encryptions made with the current version, counted in blocks.',
  }),
  bytesReserved: z.int().optional().meta({
    description: 'Of bytes likewise, where the rotation policy limits them: since it does.',
  }),
  rotateAfter: z
    .object({ encryptions: z.int().optional(), bytes: z.int().optional() })
    .optional()
    .meta({ description: 'What the rotation policy allows a version.' }),
  usesLimit: z
    .int()
    .optional()
    .meta({ description: 'Where the algorithm’s limit is, and encryption is refused.' }),
  lastUsedAt: timestampText.optional().meta({ description: 'Of any version; written about once a minute.' }),
});

const nextCursor = z.string().optional();
export const keysAnswer = z.object({ items: z.array(keyAnswer), nextCursor });
export const versionsAnswer = z.object({ items: z.array(versionAnswer), nextCursor });

export const publicKeyQuery = z.strictObject({ version: ordinal.optional() });

export const publicKeyAnswer = z.object({
  keyId: z.string(),
  keyVersion: z.int().min(1),
  algorithm: z.enum([...exchangeAlgorithms, ...decryptAlgorithms, ...signAlgorithms]),
  suite: z.string().meta({ description: 'The algorithm, and of a draft its version.' }),
  publicKey: base64Text.meta({
    description: 'Raw: as the algorithm’s specification has it; of RSA, RSAPublicKey in DER.',
  }),
  pem: z.string().optional().meta({ description: 'SubjectPublicKeyInfo, where the algorithm has one.' }),
  jwk: z.record(z.string(), z.string()).optional(),
});
