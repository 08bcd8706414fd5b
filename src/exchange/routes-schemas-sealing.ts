import { z } from 'zod';
import { leastPskBytes, type Psk } from '../crypto/hpke/context.ts';
import { hpkeAeadNames, hpkeCipherNames } from '../crypto/hpke/suites.ts';
import { base64Bytes, base64Text } from '../http/validation.ts';
import { violate } from '../http/violations.ts';
import { info, made, version } from './routes-schemas.ts';

/** What fits into a body of 1 MiB as base64, with room for all else. */
const plaintextLimitBytes = 720 * 1024;
const tagBytes = 16;

const none = () => new Uint8Array(0);
const plaintext = base64Bytes({ max: plaintextLimitBytes });
const aad = base64Bytes({ max: 16 * 1024 })
  .optional()
  .transform((bytes) => bytes ?? none())
  .meta({ contentEncoding: 'base64', description: 'Authenticated with the message, not encrypted.' });
const aead = z
  .enum(hpkeCipherNames)
  .optional()
  .transform((name) => name ?? 'aes-256-gcm')
  .meta({ description: 'Both sides give the same. Default `aes-256-gcm`.' });
const exportingAead = z
  .enum(hpkeAeadNames)
  .optional()
  .transform((name) => name ?? 'export-only')
  .meta({ description: 'Both sides give the same. Default `export-only`.' });
const psk = base64Bytes({ min: leastPskBytes, max: 1024 }).optional().meta({
  contentEncoding: 'base64',
  description: 'A secret that both sides have beforehand, with `pskId`.',
});
const pskId = base64Bytes({ min: 1, max: 1024 }).optional().meta({
  contentEncoding: 'base64',
  description: 'Names the pre-shared key to both sides.',
});
/** The longest is X-Wing's. Which length it must have the key knows. */
const enc = base64Bytes({ max: 1568 }).meta({
  contentEncoding: 'base64',
  description: 'The encapsulation that came with what was sealed.',
});
const point = base64Bytes({ max: 97 });
const exporterContext = base64Bytes({ max: 1024 })
  .optional()
  .transform((bytes) => bytes ?? none())
  .meta({ contentEncoding: 'base64', description: 'What the secret is for. Both sides give the same.' });
const bytes = z
  .int()
  .min(16)
  .max(1024)
  .optional()
  .transform((value) => value ?? 32);

interface PskMembers {
  readonly psk?: Uint8Array | undefined;
  readonly pskId?: Uint8Array | undefined;
}

/** A pre-shared key and its id: both, or neither. */
function paired<Body extends PskMembers>(
  { psk: secret, pskId: id, ...body }: Body,
  context: Parameters<typeof violate>[0],
) {
  const without: Psk | undefined = undefined;
  if (secret === undefined && id === undefined) return { ...body, psk: without };
  if (secret === undefined) return violate(context, { rule: 'together', with: 'pskId' }, ['psk']);
  if (id === undefined) return violate(context, { rule: 'together', with: 'psk' }, ['pskId']);
  return { ...body, psk: { psk: secret, pskId: id } satisfies Psk };
}

const setup = { info, psk, pskId };
const exporting = { aead: exportingAead, exporterContext, bytes };

export const sealBody = z.strictObject({ plaintext, aad, aead, ...setup }).transform(paired);
export const authSealBody = z
  .strictObject({
    ...{ plaintext, aad, aead, version, ...setup },
    recipientPublicKey: point.meta({
      contentEncoding: 'base64',
      description: 'Raw, of this key’s algorithm: 32 bytes of X25519, or an uncompressed point.',
    }),
  })
  .transform(paired);
export const openBody = z
  .strictObject({
    ...{
      enc,
      ciphertext: base64Bytes({ max: plaintextLimitBytes + tagBytes }),
      version,
      aad,
      aead,
      ...setup,
    },
    senderPublicKey: point.optional().meta({
      contentEncoding: 'base64',
      description: 'Raw: the sender that must have sealed it, by `auth-seal` or elsewhere.',
    }),
  })
  .transform(paired);
export const sendExportBody = z.strictObject({ ...exporting, ...setup }).transform(paired);
export const receiveExportBody = z.strictObject({ enc, version, ...exporting, ...setup }).transform(paired);

const suite = z.string().meta({ description: 'KEM, KDF and AEAD, and of drafts their versions.' });
const encText = base64Text.meta({ description: 'The encapsulation, to be sent along.' });

export const sealedMessageAnswer = z.object({
  ...{ enc: encText, ciphertext: base64Text, suite, ...made },
});
export const openedMessageAnswer = z.object({ plaintext: base64Text, ...made });
export const sentExportAnswer = z.object({ enc: encText, exported: base64Text, suite, ...made });
export const receivedExportAnswer = z.object({ exported: base64Text, ...made });
