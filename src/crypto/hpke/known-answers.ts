import { createHash } from 'node:crypto';
import { p256 } from '../kem/curves.ts';
import { mlKem } from '../kem/ml-kem.ts';
import { xWing } from '../kem/x-wing.ts';
import type { KnownAnswer } from '../known-answer.ts';
import { openFrom } from './hpke.ts';
import { hpkeSuite } from './suites.ts';

// Published answers for what is composed in this process of OpenSSL's parts, asked before anything is made with it.

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));

/** draft-connolly-cfrg-xwing-kem-10, spec/test-vectors.json, the first: of the public key its SHA-256. */
const xWingCase = {
  seed: hex('7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26'),
  publicKeySha256: hex('2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb'),
  ciphertext: [
    'uDqoKNTWK5qDzv/h09O7HvMSZGQ8BwxXmJJ+QfsHkUonP4+W54Js1TdaKD19qIUwTF3gUWoPBlQkPcW5f4v+uDH2glEhmqvdcjvG',
    'USBBrLrvivRCZVJJQrkC5o/9IyIc2nCxtV13apLRFD6joMR19j7miQFXxxFtrj9iv3L2Cs0ruMwxziug3jZPUrjtOMedcZcVljpd',
    '04QtjotDq3BOR1m1MnvwJ8Y8j6hXxJCNWop7iKx/K+OU2Tw3Bt3U5pjMbONwEB9NAhMlQji0ouiCG25BShzyD2wSRLaZBG9aAcqg',
    'oaVVFjALQNIEjHfMc6+6ea/uqdLAEYvfKtuIcNwyjFUWzEWxogWBQQOeLJChEKnhazGN+1O9SaEm1rc/IVeHUXuJF8wByr0QfQaF',
    'mFTui0+YYcIm03ZMhzOasWw2Z9L0k4TlVFbdQEFLcKavhBWF9MkMaHJdV3BO6O585uL5vlgtvumF4Dj/w0br+04iFYtshDdKmrSk',
    'Th+R3lqsUZf4m8XlRC9R+aWTexAro76uv24cWDgKSl/tzkpOUCb4j1KPWf/S20F1Kzo9kO+r5GOJm31AhwxTDIhB6HErczZo7QM6',
    '2/r7LUnTekTUBk5YY+sK8KCNR7PMiINzvAX3ozuEG8JYfFfraVVOijdnt1BpF7a3BJhyfxbqwaNuyNjPr3UVSfInfbJ36KVamlEG',
    'sjoCBrRyH6mzBIVSxb1bWU1uJH84wYxZGup/ViSccs57EXr8w6hiFYL5z3F4fhg97gk2eXbphAmtkhekl9+IgEI4TXcHprePX3+4',
    'QJ47U1F1NzRht3YALXmcutYoYL5wVz7L4Tskbg2n6TpSFo4Ptql1a4le9/AUeg3IG/pkSwiKkigWDA+azxN5opQc0owG68gOROF6',
    'ovgXcBCv14qXzgho0WKeuylMUVGBLFg9rriGhSIPTakRgRLgcEH8wk1VZKmf294ohp/gciOH16mk0W4cyFVZF+CZRKpeuqrsLPYm',
    'k6+tQqP1GPzmfSc8xsn7VHKzgOhXPsfeBqO6L9X5MdcltJMCbLCsvT/mLQDkx5DZZdegOjwLQiK6jCqaFuKsZY9XKuDnRur8T+ug',
    'I1dvCJQieKBB+4KnClldW6y/KXziApiYpx5cOw0cYii0hbGt5QmzX7yn7Kl7ITLny2vEZTdRRrfc6slpMIrAwqyJ54Y+uJQwFbJD',
    'FMr7nHwOhf5UPVZljCE2Mlme+r/B7EndjIhUe7LMQMnTjL0wmbRUeEBWBTHQGIzR6cI6Dr7goD1Vd9ZrHSvLS6ryHMf+8eA4BsqW',
    'KZ3w37xW4bK0Pk/CDDf4NMSvYhJ+fa6Gw8JaL2lqyLWJ3scdWVv76Ute1LwH2ACzMHlv2ontt3vgKUE2E5NU64zTdZFXj5xgDdm+',
    'jsYhn91Qet8zl+1NaHB7jROyTOTNj7IoUb/p1jJAfzHtb3yxYA3lbxdXZ0DOKjL8UUUDAUXPuX5j4OQdNUJ0oHnT5vsuFQ==',
  ].join(''),
  sharedSecret: hex('d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384'),
};

/** Wycheproof ecdh_secp256r1_ecpoint_test, tcId 1. */
const p256Case = {
  seed: hex('0612465c89a023ab17855b0a6bcebfd3febb53aef84138647b5352e02c10c346'),
  peer: hex(
    '0462d5bd3372af75fe85a040715d0f502428e07046868b0bfdfa61d731afe44f26ac333a93a9e70a81cd5a95b5bf8d13990eb741c8c38872b4a07d275a014e30cf',
  ),
  secret: hex('53020d908b0219328b658b525f26780e3ae12bcd952bb25a93bc0895e1714285'),
};

/** RFC 9180's test vectors: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, the first message. */
const hpkeCase = {
  recipient: {
    seed: hex('497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d'),
    publicKey: hex('430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c'),
  },
  enc: hex('6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256'),
  info: hex('4f6465206f6e2061204772656369616e2055726e'),
  aad: hex('436f756e742d30'),
  ciphertext: hex(
    'e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a',
  ),
  plaintext: hex('4265617574792069732074727574682c20747275746820626561757479'),
};

/** X-Wing, and in it ML-KEM-768, X25519, SHA3-256 and SHAKE256; ECDH over P-256; HPKE. */
export async function pairKnownAnswers(): Promise<readonly KnownAnswer[]> {
  const key = xWing(mlKem).privateKey(xWingCase.seed);
  const publicKey = p256.publicKeyOf(p256Case.seed);
  return [
    {
      algorithm: 'X-Wing, public key',
      answer: createHash('sha256').update(key.publicKey).digest(),
      expected: xWingCase.publicKeySha256,
    },
    {
      algorithm: 'X-Wing',
      answer: key.decapsulate(Buffer.from(xWingCase.ciphertext, 'base64')),
      expected: xWingCase.sharedSecret,
    },
    {
      algorithm: 'ECDH P-256',
      answer: publicKey && (await p256.agree({ seed: p256Case.seed, publicKey }, p256Case.peer)),
      expected: p256Case.secret,
    },
    {
      algorithm: 'HPKE',
      answer: await openFrom(hpkeSuite('x25519', 'aes-256-gcm'), hpkeCase),
      expected: hpkeCase.plaintext,
    },
  ];
}
