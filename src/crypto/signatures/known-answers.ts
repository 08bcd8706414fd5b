import { createHash } from 'node:crypto';
import { hasNativeMlKem } from '../kem/ml-kem-native.ts';
import type { KnownAnswer } from '../known-answer.ts';
import type { SignAlgorithm } from '../suites.ts';
import { compositeCase, slhDsaCase } from './known-signatures.ts';
import { inputOf, schemes } from './schemes.ts';
import type { SeedScheme } from './signature.ts';

// Published answers for what OpenSSL signs and verifies in this process. ML-DSA and SLH-DSA are hedged, so that no
// published signature can be made anew: keys of published seeds are asked for, and signatures of others verified.

const decoded = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));

/** RFC 8032 §7.1, test 2. */
const ed25519Case = {
  seed: 'TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=',
  publicKey: 'PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=',
  message: 'cg==',
  signature: 'kqAJqfDUyrhyDoILX2QlQKKye1QWUD+Ps3YiI+vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA==',
};

/** Wycheproof ecdsa_secp256r1_sha256_test, tcId 296. */
const ecdsaCase = {
  publicKey: 'BCknsQUSuuPt3P5GeCgSi60pAyaZGfcIYGnIxN9scyg4x3h5ZOqsAOWSH7FJimD0YGdms9loUAFVjRqXTnNBUT4=',
  message: 'NDI2NDc5NzI0',
  signature:
    'MEQCIBauqWSi9lBtb3jIHJH8fove19OXc4RI3h4ZoOxYC/JmAiAlLNdiEwxmZ8/ot7xH0n14OR6OgMV40c04w/8DO+ko6Q==',
};

/** Wycheproof rsa_pss_2048_sha256_mgf1_32_test, tcId 8. */
const rsaCase = {
  publicKey: [
    'MIIBCgKCAQEAorRRoH0KpfluRVZxUTVQUUqKW0YuvvcXCU+h/ugiJOY3+XRtP3yv0xh42AMltu9aFwD2WQO0aUKeidbqyIRQl7WrOTGJ',
    '25JRLtincRoSU/rNIPecFegkfz0+QuRuSMmOJUov6XZTE6A+/48X4aApOXofomqNzib0kO2BKZYV2YFMItphBCjgnH2WWFlCZvXAIdD8',
    '7KCNlFoSvoLeTR7Oa0wDFFtdNJXU7VQR64eNrwX9evw+Ca2g8RJkIvWQl1oZaYFvSGmLy7obTZyuedRg2Pn4Xnl1AF2bwixOWsD3waRd',
    'ElaaYoB9O5oC5aUw53MGb0U9H1tMLpz3ggKD90K51QIDAQAB',
  ].join(''),
  message: 'NDI2NDc5NzI0',
  signature: [
    'OlK+yEtbQeCTWKf+JLt64Ms5NkN0yRHg0/AR8sTHlmf0PrcA/LM+RFM2VLPv2zfmJ+rxNS0hoYenCoa3myw0rj7vlE4+YdNhw7qkRt1G',
    'Xy3cCyrnvIvuwXYZIvtdeqbMT6udGgg18VzXHMs/y1fFeKRqcZfatHi30e18YjXeo7EXRywzTDoY+4pXSSL1Edfr8DAgHddFejhgpq9i',
    'Ut2vkNB9kKygP3A3IjQAwGbbHX/rkdhIFa8kMBkKIXCsfu/4mOvVxMfpvtGaqGKTqiV6mtClFGvoDnzmCByJBtJp0GvwN+NO4Yq6ET3P',
    'yY7KcKvtckncmkn5cWSOWNfbIoLtag==',
  ].join(''),
};

/** Wycheproof mldsa_65_sign_seed_test, tcId 3: the public key of a seed. */
const mlDsaCase = {
  seed: 'KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=',
  publicKeySha256: 't6zOLdsR+MwapG4rr6xurPorcy7xkr1jatjTpW1knGY=',
  context: 'Q29udGV4dA==',
  message: 'SGVsbG8gd29ybGQ=',
};

interface Claim {
  readonly publicKey: Uint8Array;
  readonly message: string;
  readonly signature: Uint8Array;
  readonly context?: string;
}

/** Whether a signature is taken, and one bit more refused. */
function verdict(algorithm: SignAlgorithm, { publicKey, signature, ...claim }: Claim): KnownAnswer {
  const scheme = schemes[algorithm];
  const context = claim.context === undefined ? undefined : decoded(claim.context);
  const verifies = (message: Uint8Array): boolean =>
    scheme.verify(publicKey, inputOf(scheme, { form: 'message', bytes: message, context }), signature);
  const message = decoded(claim.message);
  const other = Uint8Array.from(message);
  other[0] = (other[0] ?? 0) ^ 1;
  const answer = attempt(() => Uint8Array.of(Number(verifies(message)), Number(verifies(other))));
  return { algorithm: `${algorithm}, verifying`, answer, expected: Uint8Array.of(1, 0) };
}

function attempt(ask: () => Uint8Array): Uint8Array | undefined {
  try {
    return ask();
  } catch {
    return undefined;
  }
}

/** Ed25519, ECDSA over P-256, RSA-PSS; ML-DSA-65, SLH-DSA and a composite where this process has them. */
export function signatureKnownAnswers(): readonly KnownAnswer[] {
  const classical = [...ed25519Answers(), verdict('ecdsa-p256', bytesOf(ecdsaCase))];
  const answers = [...classical, verdict('rsa-pss-2048', bytesOf(rsaCase))];
  // They came to OpenSSL together, in 3.5; without them nothing is signed with them either.
  return hasNativeMlKem() ? [...answers, ...postQuantumAnswers()] : answers;
}

function bytesOf<Texts extends { publicKey: string; signature: string; message: string }>(texts: Texts) {
  return { ...texts, publicKey: decoded(texts.publicKey), signature: decoded(texts.signature) };
}

function ed25519Answers(): KnownAnswer[] {
  const { publicKey, signature } = bytesOf(ed25519Case);
  const { seed, message } = ed25519Case;
  const scheme = schemes.ed25519 as SeedScheme;
  const input = inputOf(scheme, { form: 'message', bytes: decoded(message) });
  const signed = attempt(() => scheme.sign(decoded(seed), input));
  return [
    { algorithm: 'ed25519, signing', answer: signed, expected: signature },
    verdict('ed25519', { publicKey, message, signature }),
  ];
}

/** The public key of a seed, and whether it verifies what the seed signed. */
function seedAnswers(
  algorithm: SignAlgorithm,
  { seed, publicKeySha256, message, context }: typeof mlDsaCase,
): { publicKey: Uint8Array; answers: KnownAnswer[] } {
  const scheme = schemes[algorithm] as SeedScheme;
  const publicKey = attempt(() => scheme.publicKeyOf(decoded(seed)) ?? nothing) ?? nothing;
  const answer = createHash('sha256').update(publicKey).digest();
  const asked = { form: 'message', bytes: decoded(message), context: decoded(context) } as const;
  const signature = attempt(() => scheme.sign(decoded(seed), inputOf(scheme, asked))) ?? nothing;
  const signed = verdict(algorithm, { publicKey, message, context, signature });
  return {
    publicKey,
    answers: [
      { algorithm: `${algorithm}, public key`, answer, expected: decoded(publicKeySha256) },
      { ...signed, algorithm: `${algorithm}, signing` },
    ],
  };
}

const nothing = new Uint8Array(0);

function postQuantumAnswers(): KnownAnswer[] {
  const mlDsa = seedAnswers('ml-dsa-65', mlDsaCase);
  const composite = seedAnswers('ml-dsa-65-ed25519', compositeCase);
  const { publicKey } = composite;
  return [
    ...[...mlDsa.answers, ...composite.answers],
    verdict('ml-dsa-65-ed25519', {
      ...compositeCase,
      publicKey,
      signature: decoded(compositeCase.signature),
    }),
    verdict('slh-dsa-sha2-128s', bytesOf(slhDsaCase)),
  ];
}
