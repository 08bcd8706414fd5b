import { createCipheriv, randomBytes } from 'node:crypto';
import { newId } from '../../src/core/ids.ts';
import { type CipherAlgorithm as Algorithm, cipherSuites as suites } from '../../src/crypto/suites.ts';
import { type CipherVersion, versionIdBytes } from '../../src/keys/key.ts';
import { type ReferenceInput, referenceOpen, referenceSeal } from '../support/reference-aead.ts';
import type { KnownKek } from '../support/token.ts';
import type { Context } from './support.ts';

// src/envelope/README.md word for word, with nothing of the service.

function prefixed(...fields: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    fields.flatMap((field) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(field.length);
      return [length, field];
    }),
  );
}

function uuid(id: string): Buffer {
  return Buffer.from(id.replaceAll('-', ''), 'hex');
}

function aadBySpec(first52: Uint8Array, namespaceId: string, context: Context): Buffer {
  const pairs = Object.entries(context).map(
    ([name, value]) => [Buffer.from(name), Buffer.from(value)] as const,
  );
  pairs.sort(([a], [b]) => Buffer.compare(a, b));
  const label = Buffer.from('stathera/envelope/direct/v1', 'ascii');
  return prefixed(label, first52, uuid(namespaceId), prefixed(...pairs.flat()));
}

const suiteNumbers = {
  'aes-256-gcm': 1,
  'aes-128-gcm': 2,
  'chacha20-poly1305': 3,
  'xchacha20-poly1305': 4,
  'xaes-256-gcm': 5,
} as const satisfies Record<Algorithm, number>;
const kindNumbers = { message: 1, 'data-key': 2 } as const;

function nonceBytes(suite: Algorithm): 12 | 24 {
  return suiteNumbers[suite] < 4 ? 12 : 24;
}

function named<Name extends string>(numbers: Record<Name, number>, number: number | undefined): Name {
  const name = (Object.keys(numbers) as Name[]).find((each) => numbers[each] === number);
  if (name === undefined) throw new Error(`no such number: ${number}`);
  return name;
}

export function openBySpec(ciphertext: Uint8Array, key: Uint8Array, namespaceId: string, context: Context) {
  const bytes = Buffer.from(ciphertext);
  const suite = named(suiteNumbers, bytes[2]);
  const sealedAt = 52 + nonceBytes(suite);
  const aad = aadBySpec(bytes.subarray(0, 52), namespaceId, context);
  const data = referenceOpen(
    { suite, key, nonce: bytes.subarray(52, sealedAt), aad },
    bytes.subarray(sealedAt),
  );
  return {
    ...{ magic: bytes[0], format: bytes[1], suite, kind: named(kindNumbers, bytes[3]) },
    ...{ keyId: bytes.subarray(4, 20), versionId: bytes.subarray(20, 36), messageId: bytes.subarray(36, 52) },
    ...{ aad, commitment: data.subarray(0, 32), plaintext: data.subarray(32) },
  };
}

/** A ciphertext of the version by the written format. */
export function sealBySpec(
  { id, keyId, namespaceId, suite: { name } }: Pick<CipherVersion, 'id' | 'keyId' | 'namespaceId' | 'suite'>,
  key: Uint8Array,
  {
    kind = 'message',
    context = {},
    plaintext,
    commitment = Buffer.alloc(32),
  }: {
    kind?: 'message' | 'data-key';
    context?: Context;
    plaintext: Uint8Array;
    /** Anything but zeros is a forgery with a sound tag. */
    commitment?: Uint8Array;
  },
): Buffer {
  const suite = name as Algorithm;
  const start = Buffer.of(0x53, 1, suiteNumbers[suite], kindNumbers[kind]);
  const first52 = Buffer.concat([start, uuid(keyId), uuid(id), randomBytes(16)]);
  const nonce = randomBytes(nonceBytes(suite));
  const input: ReferenceInput = { suite, key, nonce, aad: aadBySpec(first52, namespaceId, context) };
  return Buffer.concat([first52, nonce, referenceSeal(input, Buffer.concat([commitment, plaintext]))]);
}

/** A version whose key the test knows; where the token cannot use it, sealed as docs/architecture.md says. */
export function knownVersion(
  kek: KnownKek,
  algorithm: Algorithm,
  key: Uint8Array,
  ids: Partial<Pick<CipherVersion, 'id' | 'keyId' | 'namespaceId'>> = {},
): CipherVersion {
  const { id = newId(), keyId = newId(), namespaceId = newId() } = ids;
  const suite = suites[algorithm];
  const version = {
    ...{ id, keyId, namespaceId, ordinal: 1, state: 'enabled' as const, suite },
    idBytes: versionIdBytes({ id, keyId, namespaceId }),
  };
  if (suite.protection !== 'hsm-sealed') return { ...version, ref: kek.importKey(suite.keyKind, key) };
  const [sealingKey, nonce] = [randomBytes(32), randomBytes(12)];
  const place = [uuid(namespaceId), uuid(keyId), uuid(id), Buffer.from(algorithm)];
  const cipher = createCipheriv('aes-256-gcm', sealingKey, nonce);
  cipher.setAAD(prefixed(Buffer.from('stathera/seed/v1'), ...place));
  const sealedSeed = Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()]);
  return { ...version, ref: kek.importKey('aes-256', sealingKey), sealedSeed };
}
