import { toBase64, wipe } from '../core/bytes.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { keyParams as params } from './routes-schemas.ts';
import {
  authSealBody,
  openBody,
  openedMessageAnswer,
  receivedExportAnswer,
  receiveExportBody,
  sealBody,
  sealedMessageAnswer,
  sendExportBody,
  sentExportAnswer,
} from './routes-schemas-sealing.ts';
import type { SealedMessage, Sealings } from './sealing.ts';

const tag = 'Sealing to a public key';
const problems = [
  ...(['key/not-found', 'key/wrong-purpose', 'key/disabled', 'key/version-disabled'] as const),
  'exchange/refused',
] as const;

function sealedOut({ enc, ciphertext, suite, keyId, keyVersion }: SealedMessage) {
  return { enc: toBase64(enc), ciphertext: toBase64(ciphertext), suite, keyId, keyVersion };
}

export function sealingRoutes(sealings: Sealings): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/seal',
      operationId: 'seal',
      tag,
      summary: 'Seal a message to a key by HPKE: only the key opens it',
      description:
        'Whoever has the public key can do the same without the service. With `x-wing`, `ml-kem-768`, `x25519` and ' +
        '`p256`.',
      request: { params, body: sealBody },
      answer: {
        status: 200,
        description: 'The sealed message and its encapsulation.',
        body: sealedMessageAnswer,
      },
      problems,
      example: { plaintext: 'aGVsbG8=' },
      async handle({ caller, params: { key }, body }) {
        try {
          return sealedOut(await sealings.seal(caller, { key, ...body }));
        } finally {
          wipe(body.plaintext, body.psk?.psk);
        }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/auth-seal',
      operationId: 'authSeal',
      tag,
      summary: 'Seal a message as this key, to the public key of another',
      description: 'Whoever opens it knows that this key sealed it. With `x25519` and `p256`.',
      request: { params, body: authSealBody },
      answer: {
        status: 200,
        description: 'The sealed message and its encapsulation.',
        body: sealedMessageAnswer,
      },
      problems,
      async handle({ caller, params: { key }, body }) {
        try {
          return sealedOut(await sealings.authSeal(caller, { key, ...body }));
        } finally {
          wipe(body.plaintext, body.psk?.psk);
        }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/open',
      operationId: 'open',
      tag,
      summary: 'Open a message that was sealed to this key',
      request: { params, body: openBody },
      answer: { status: 200, description: 'The plaintext.', body: openedMessageAnswer },
      problems,
      async handle({ caller, params: { key }, body }) {
        try {
          const { plaintext, ...made } = await sealings.open(caller, { key, ...body });
          try {
            return { plaintext: toBase64(plaintext), ...made };
          } finally {
            wipe(plaintext);
          }
        } finally {
          wipe(body.psk?.psk);
        }
      },
    }),
    ...exportRoutes(sealings),
  ];
}

function exportRoutes(sealings: Sealings): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/send-export',
      operationId: 'sendExport',
      tag,
      summary: 'Derive a secret by HPKE, and an encapsulation from which the key derives it again',
      request: { params, body: sendExportBody },
      answer: { status: 200, description: 'The secret and its encapsulation.', body: sentExportAnswer },
      problems,
      example: {},
      async handle({ caller, params: { key }, body }) {
        try {
          const { enc, exported, ...made } = await sealings.sendExport(caller, { key, ...body });
          try {
            return { enc: toBase64(enc), exported: toBase64(exported), ...made };
          } finally {
            wipe(exported);
          }
        } finally {
          wipe(body.psk?.psk);
        }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/receive-export',
      operationId: 'receiveExport',
      tag,
      summary: 'Derive the secret of an encapsulation by HPKE',
      description:
        'An encapsulation that was changed gives another secret and no refusal where the key is of ML-KEM or X-Wing.',
      request: { params, body: receiveExportBody },
      answer: { status: 200, description: 'The secret.', body: receivedExportAnswer },
      problems,
      async handle({ caller, params: { key }, body }) {
        try {
          const { exported, ...made } = await sealings.receiveExport(caller, { key, ...body });
          try {
            return { exported: toBase64(exported), ...made };
          } finally {
            wipe(exported);
          }
        } finally {
          wipe(body.psk?.psk);
        }
      },
    }),
  ];
}
