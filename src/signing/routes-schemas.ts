import { z } from 'zod';
import { signatureEncodings } from '../crypto/signatures/ecdsa-encoding.ts';
import { hashNames } from '../crypto/signatures/hashes.ts';
import { signAlgorithms } from '../crypto/suites.ts';
import { base64Bytes, base64Text, keyRefSchema, plainText } from '../http/validation.ts';

export const keyParams = z.strictObject({ key: keyRefSchema });

/** What fits into a body of 1 MiB as base64, with room for a signature. */
const messageLimitBytes = 720 * 1024;
/** The longest is SLH-DSA-SHA2-256s’s, 29,792 bytes. */
const signatureLimitBytes = 32_768;

const content = {
  message: base64Bytes({ max: messageLimitBytes })
    .optional()
    .meta({ contentEncoding: 'base64', description: 'Of this, `digest` and `mu` there is one.' }),
  digest: base64Bytes({ min: 32, max: 64 }).optional().meta({
    contentEncoding: 'base64',
    description: 'Its hash, made elsewhere: for ECDSA, RSA, and composites (SHA-512).',
  }),
  mu: base64Bytes({ min: 64, max: 64 }).optional().meta({
    contentEncoding: 'base64',
    description: 'For ML-DSA: what stands for public key, context and message (FIPS 204 algorithm 7).',
  }),
  context: base64Bytes({ max: 255 }).optional().meta({
    contentEncoding: 'base64',
    description: 'For ML-DSA, SLH-DSA and composites: bound into the signature. Part of a `mu` already.',
  }),
  hash: z.enum(hashNames).optional().meta({
    description:
      'For RSA. Default: `sha256`, with a modulus of 4,096 bits `sha512`. Other algorithms have their own.',
  }),
  encoding: z.enum(signatureEncodings).optional().meta({
    description: 'For ECDSA. `der` (default): Ecdsa-Sig-Value. `p1363`: r and s, each as long as the order.',
  }),
};

export const signBody = z.strictObject(content);
export const verifyBody = z.strictObject({
  ...content,
  signature: base64Bytes({ max: signatureLimitBytes }),
  version: z.int().min(1).max(999_999_999).optional().meta({
    description: 'The version that signed, as `keyVersion` told it. Default: the current one.',
  }),
});

const made = { keyId: z.string(), keyVersion: z.int().min(1) };
export const signatureAnswer = z.object({
  signature: base64Text,
  algorithm: z.enum(signAlgorithms),
  ...made,
});
export const verifiedSignatureAnswer = z.object({ valid: z.literal(true), ...made });

/** What fits into a body of 1 MiB, twice as base64 in an answer. */
const payloadLimitBytes = 256 * 1024;
const mediaType = z
  .string()
  .max(128)
  .regex(/^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*(\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*)?$/)
  .optional();

export const jwsBody = z.strictObject({
  payload: base64Bytes({ max: payloadLimitBytes }),
  typ: mediaType.meta({ description: 'What the whole is: `JWT`, or a media type without `application/`.' }),
  cty: mediaType.meta({ description: 'What the payload is.' }),
});
export const jwsAnswer = z.object({
  jws: z.string().meta({ description: 'In compact serialization. Its `kid` is a member of the JWKS.' }),
  ...made,
});

const nameText = plainText({ min: 1, max: 128 }).optional();
/** Labels of letters, digits, `-` and `_`, the first perhaps `*`. */
const dnsName = z
  .string()
  .max(253)
  .regex(/^(\*\.)?([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}$/);
const email = z
  .string()
  .max(254)
  .regex(/^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,189}$/);

export const csrBody = z.strictObject({
  subject: z.strictObject({
    country: z
      .string()
      .regex(/^[A-Z]{2}$/)
      .optional(),
    state: nameText,
    locality: nameText,
    organization: nameText,
    organizationalUnit: nameText,
    commonName: plainText({ min: 1, max: 64 }).optional(),
  }),
  dnsNames: z
    .array(dnsName)
    .max(100)
    .optional()
    .transform((names) => names ?? []),
  emails: z
    .array(email)
    .max(100)
    .optional()
    .transform((names) => names ?? []),
});
export const csrAnswer = z.object({ pem: z.string().meta({ description: 'PKCS #10.' }), ...made });

export const jwksQuery = z.strictObject({
  key: keyRefSchema.optional().meta({ description: 'One key alone. Default: all that the caller may see.' }),
});
export const jwksAnswer = z.object({
  keys: z.array(z.record(z.string(), z.string())).meta({
    description: 'JWKs (RFC 7517) with `kid`, `use` and `alg`, newest first, 500 at most.',
  }),
});
