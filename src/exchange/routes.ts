import { toBase64, wipe } from '../core/bytes.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import type { Exchanges } from './exchange.ts';
import {
  confirmBody,
  confirmedAnswer,
  decapsulateBody,
  decapsulatedAnswer,
  deriveBody,
  derivedAnswer,
  encapsulateBody,
  encapsulatedAnswer,
  keyParams as params,
} from './routes-schemas.ts';

const tag = 'Key exchange';
const using = ['key/not-found', 'key/wrong-purpose', 'key/disabled', 'key/version-disabled'] as const;
const opening = [...using, 'exchange/refused'] as const;

export function exchangeRoutes(exchanges: Exchanges): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/encapsulate',
      operationId: 'encapsulate',
      tag,
      summary: 'Make a secret, and a ciphertext from which the key gives it again',
      description:
        'Whoever has the public key can do the same without the service. With `x-wing` and `ml-kem-…`.',
      request: { params, body: encapsulateBody },
      answer: { status: 200, description: 'The secret and its ciphertext.', body: encapsulatedAnswer },
      problems: using,
      example: {},
      async handle({ caller, params: { key }, body }) {
        const made = await exchanges.encapsulate(caller, { key, ...body });
        try {
          return {
            ...made,
            ciphertext: toBase64(made.ciphertext),
            sharedSecret: toBase64(made.sharedSecret),
            confirmation: toBase64(made.confirmation),
            expectedConfirmation: toBase64(made.expectedConfirmation),
          };
        } finally {
          wipe(made.sharedSecret);
        }
      },
    }),
    ...privateRoutes(exchanges),
  ];
}

function privateRoutes(exchanges: Exchanges): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/decapsulate',
      operationId: 'decapsulate',
      tag,
      summary: 'The secret of a ciphertext',
      description:
        'A changed ciphertext gives another secret and no refusal, as ML-KEM has it: send the `confirmation` of the ' +
        'other side, and it is refused instead.',
      request: { params, body: decapsulateBody },
      answer: { status: 200, description: 'The secret.', body: decapsulatedAnswer },
      problems: opening,
      async handle({ caller, params: { key }, body }) {
        const { sharedSecret, confirmation, ...made } = await exchanges.decapsulate(caller, { key, ...body });
        try {
          return { ...made, sharedSecret: toBase64(sharedSecret), confirmation: toBase64(confirmation) };
        } finally {
          wipe(sharedSecret);
        }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/confirm',
      operationId: 'confirm',
      tag,
      summary: 'Prove to the other side of an encapsulation that both have its secret',
      description: 'The secret does not leave the service.',
      request: { params, body: confirmBody },
      answer: { status: 200, description: 'The confirmation to send back.', body: confirmedAnswer },
      problems: opening,
      async handle({ caller, params: { key }, body }) {
        const { confirmation, ...made } = await exchanges.confirm(caller, { key, ...body });
        return { ...made, confirmation: toBase64(confirmation) };
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/derive',
      operationId: 'derive',
      tag,
      summary: 'A key from this key pair and the public key of another',
      description: 'ECDH and HKDF-SHA-256; never the agreement itself. With `x25519`, `p256` and `p384`.',
      request: { params, body: deriveBody },
      answer: { status: 200, description: 'The derived key.', body: derivedAnswer },
      problems: opening,
      async handle({ caller, params: { key }, body }) {
        const { derived, ...made } = await exchanges.derive(caller, { key, ...body });
        try {
          return { ...made, derived: toBase64(derived) };
        } finally {
          wipe(derived);
        }
      },
    }),
  ];
}
