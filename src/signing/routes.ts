import { type AnyRoute, defineRoute } from '../http/route.ts';
import { askedOf, signatureOut } from './routes-answers.ts';
import {
  csrAnswer,
  csrBody,
  jwksAnswer,
  jwksQuery,
  jwsAnswer,
  jwsBody,
  keyParams as params,
  signatureAnswer,
  signBody,
  verifiedSignatureAnswer,
  verifyBody,
} from './routes-schemas.ts';
import type { Signing } from './signing.ts';

const tag = 'Signatures';
const using = ['key/not-found', 'key/wrong-purpose', 'key/disabled', 'key/version-disabled'] as const;

export function signingRoutes(signing: Signing): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/sign',
      operationId: 'sign',
      tag,
      summary: 'Sign a message with the current version of a key',
      description: 'Keep the `keyVersion` of the answer with the signature, which does not name it.',
      request: { params, body: signBody },
      answer: { status: 200, description: 'The signature.', body: signatureAnswer },
      problems: using,
      example: { message: 'aGVsbG8=' },
      handle: async ({ caller, params: { key }, body }) =>
        signatureOut(await signing.sign(caller, { key, ...askedOf(body) })),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/verify',
      operationId: 'verify',
      tag,
      summary: 'Whether a signature is the message’s',
      description: 'Answers 200 only when it is; every other signature is refused with `signature/invalid`.',
      request: { params, body: verifyBody },
      answer: { status: 200, description: 'It is.', body: verifiedSignatureAnswer },
      problems: [...using, 'signature/invalid'],
      async handle({ caller, params: { key }, body: { signature, version, ...body } }) {
        return await signing.verify(caller, { key, signature, version, ...askedOf(body) });
      },
    }),
    ...formatRoutes(signing),
  ];
}

/** Signatures and public keys in the formats of others. */
function formatRoutes(signing: Signing): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/sign-jws',
      operationId: 'signJws',
      tag,
      summary: 'Sign a payload as a JWS with the current version of a key',
      description:
        'Compact serialization (RFC 7515). `alg` is the key’s, `kid` the id of its version. For SLH-DSA and composites ' +
        'JWS has no algorithm.',
      request: { params, body: jwsBody },
      answer: { status: 200, description: 'The JWS.', body: jwsAnswer },
      problems: using,
      example: { payload: 'eyJzdWIiOiJhbGljZSJ9', typ: 'JWT' },
      handle: ({ caller, params: { key }, body }) => signing.jws(caller, { key, ...body }),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/csr',
      operationId: 'createCsr',
      tag,
      summary: 'A certification request for the current version of a key, signed by it',
      request: { params, body: csrBody },
      answer: { status: 200, description: 'The request, for a certification authority.', body: csrAnswer },
      problems: using,
      example: { subject: { commonName: 'releases.example' }, dnsNames: ['releases.example'] },
      handle: ({ caller, params: { key }, body }) => signing.csr(caller, { key, ...body }),
    }),
  ];
}

/** Before the routes of keys, none of which is named so. */
export function jwksRoutes(signing: Signing): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/keys/jwks.json',
      operationId: 'getJwks',
      tag,
      summary: 'The public keys that signatures verify with now, as a JWK Set',
      description: 'Versions that are enabled or decrypt-only, of enabled keys that the caller may see.',
      request: { query: jwksQuery },
      answer: { status: 200, description: 'The set.', body: jwksAnswer },
      problems: ['key/not-found'],
      handle: async ({ caller, query: { key } }) => ({ keys: await signing.jwks(caller, key) }),
    }),
  ];
}
