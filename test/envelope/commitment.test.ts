import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ServiceError } from '../../src/core/errors.ts';
import {
  type CipherAlgorithm as Algorithm,
  cipherAlgorithms as algorithms,
  cipherSuites as suites,
} from '../../src/crypto/suites.ts';
import { parseCiphertext } from '../../src/envelope/format.ts';
import { createMessages } from '../../src/envelope/messages.ts';
import type { Hsm } from '../../src/hsm/hsm.ts';
import { type KnownKek, openTestToken, type TestToken } from '../support/token.ts';
import { overwritten } from './support.ts';
import { knownVersion, sealBySpec } from './written-format.ts';

let token: TestToken;
let kek: KnownKek;
beforeAll(async () => {
  token = await openTestToken();
  kek = token.importKek();
});
afterAll(() => token.close());

const context = { a: 'b' };
const failed = { code: 'envelope/decryption-failed' };
const zeros = Buffer.alloc(32);
const secret = Buffer.from('secret');

function parsed(ciphertext: Uint8Array) {
  const fields = parseCiphertext(ciphertext);
  if (!fields) throw new Error('not a ciphertext');
  return fields;
}

/** A version of a known key, and ciphertexts that are sound under it but for what the commitment says. */
function subject(algorithm: Algorithm) {
  const key = Buffer.alloc(suites[algorithm].keyBytes, 7);
  const version = knownVersion(kek, algorithm, key);
  return {
    version,
    sealed: (commitment: Uint8Array = zeros) =>
      parsed(sealBySpec(version, key, { context, plaintext: secret, commitment })),
  };
}

/** An HSM that lets the test see what it gave out. */
function watched(): { hsm: Hsm; given: Uint8Array[] } {
  const given: Uint8Array[] = [];
  const keep = async (answer: Promise<Uint8Array>) => {
    given.push(await answer);
    return await answer;
  };
  const { hsm } = token;
  return {
    given,
    hsm: {
      ...hsm,
      decrypt: (ref, input) => keep(hsm.decrypt(ref, input)),
      openSeed: (ref, place, sealed) => keep(hsm.openSeed(ref, place, sealed)),
      mac: (ref, data) => keep(hsm.mac(ref, data)),
    },
  };
}

const wiped = (all: readonly Uint8Array[]) => all.every((bytes) => bytes.every((byte) => byte === 0));

describe.each(algorithms)('%s', (algorithm) => {
  /** Guarantees that a ciphertext with a sound tag and another commitment is refused, by decrypt and by rewrap alike. */
  test('a sound tag is not enough', async () => {
    const messages = createMessages(token.hsm);
    const { version, sealed } = subject(algorithm);
    const targets = [version, knownVersion(kek, 'aes-256-gcm', Buffer.alloc(32, 8))];
    expect(Buffer.from(await messages.open(version, sealed(), context))).toEqual(secret);
    const commitments = [0, 7, 100, 128, 255].map((bit) =>
      overwritten(zeros, bit >> 3, Uint8Array.of(1 << (bit & 7))),
    );
    for (const commitment of [...commitments, Buffer.alloc(32, 0xff)]) {
      const forged = sealed(commitment);
      await expect(messages.open(version, forged, context)).rejects.toMatchObject(failed);
      for (const to of targets) {
        await expect(
          messages.reseal({ version, parsed: forged, context }, { version: to, context }),
        ).rejects.toMatchObject(failed);
      }
    }
  });

  /** Guarantees that of a message nothing that the HSM gave out is left: no seed, no derived key, no refused plaintext. */
  test('what the HSM gave out is wiped', async () => {
    const seen = watched();
    const messages = createMessages(seen.hsm);
    const { version, sealed } = subject(algorithm);
    await messages.seal(version, { kind: 'message', plaintext: secret, context });
    await expect(messages.open(version, sealed(Buffer.alloc(32, 1)), context)).rejects.toMatchObject(failed);
    const cut = { ...sealed(), sealed: new Uint8Array(48) };
    await expect(messages.open(version, cut, context)).rejects.toMatchObject(failed);
    const to = { version: knownVersion(kek, 'xaes-256-gcm', Buffer.alloc(32, 9)), context };
    await messages.reseal({ version, parsed: sealed(), context }, to);
    expect(seen.given.length).toBeGreaterThan(0);
    expect(wiped(seen.given)).toBe(true);
  });

  /** Guarantees that a suite other than the version's is refused without asking the HSM. */
  test('another suite is refused', async () => {
    const seen = watched();
    const { sealed } = subject(algorithm);
    const messages = createMessages(seen.hsm);
    for (const other of algorithms.filter((name) => name !== algorithm)) {
      const { version } = subject(other);
      await expect(messages.open(version, sealed(), context)).rejects.toMatchObject(failed);
      const from = { version, parsed: sealed(), context };
      await expect(messages.reseal(from, { version, context })).rejects.toMatchObject(failed);
    }
    expect(seen.given).toEqual([]);
  });

  /** Guarantees that a failing device is told apart from a bad ciphertext: nobody throws data away for it. */
  test('a failing device is not a bad ciphertext', async () => {
    const down = new ServiceError('hsm/unavailable', 'Down.');
    const fail = () => Promise.reject(down);
    const messages = createMessages({ ...token.hsm, decrypt: fail, openSeed: fail, mac: fail });
    const { version, sealed } = subject(algorithm);
    await expect(messages.open(version, sealed(), context)).rejects.toBe(down);
  });
});

/** Guarantees that between keys of the token no plaintext is fetched to seal it anew. */
test('a plaintext stays with the HSM', async () => {
  const seen = watched();
  const messages = createMessages(seen.hsm);
  const { version, sealed } = subject('aes-256-gcm');
  const to = { version: knownVersion(kek, 'aes-128-gcm', Buffer.alloc(16, 1)), context };
  const anew = parsed(await messages.reseal({ version, parsed: sealed(), context }, to));
  expect(seen.given).toEqual([]);
  expect(Buffer.from(await messages.open(to.version, anew, context))).toEqual(secret);
});
