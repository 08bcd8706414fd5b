import { z } from 'zod';
import { base64Bytes, base64Text, keyRefSchema } from '../http/validation.ts';

export const keyParams = z.strictObject({ key: keyRefSchema });

/** The longest is HMAC-SHA-512's. */
const macLimitBytes = 64;
const message = base64Bytes({ max: 65_536 });
const bytes = z.int().min(8).max(macLimitBytes).optional().meta({
  description: 'Length of the MAC: half of the algorithm’s to all of them. Default: all.',
});

export const generateMacBody = z.strictObject({ message, bytes });
export const verifyMacBody = z.strictObject({
  message,
  mac: base64Bytes({ max: macLimitBytes }),
  bytes: bytes.meta({
    description:
      'Length that the MAC must have: half of the algorithm’s to all of them. Default: all. Whoever gives the MAC ' +
      'must not choose it.',
  }),
  version: z.int().min(1).max(999_999_999).optional().meta({
    description: 'The version that made the MAC, as `keyVersion` told it. Default: the current one.',
  }),
});

const made = { keyId: z.string(), keyVersion: z.int().min(1) };
export const macAnswer = z.object({ mac: base64Text, ...made });
export const verifiedMacAnswer = z.object({ valid: z.literal(true), ...made });
