import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto';

// The suites' AEADs word for word from their specifications, on nothing of the service: what it is held against.

export type ReferenceSuite =
  | 'aes-256-gcm'
  | 'aes-128-gcm'
  | 'chacha20-poly1305'
  | 'xchacha20-poly1305'
  | 'xaes-256-gcm';

export interface ReferenceInput {
  readonly suite: ReferenceSuite;
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
  readonly aad: Uint8Array;
}

/** Ciphertext ‖ tag. */
export function referenceSeal(input: ReferenceInput, plaintext: Uint8Array): Buffer {
  const { cipher, key, nonce } = keyOf(input);
  const sealing = createCipheriv(cipher, key, nonce, { authTagLength: 16 }).setAAD(input.aad);
  return Buffer.concat([sealing.update(plaintext), sealing.final(), sealing.getAuthTag()]);
}

/** The plaintext. @throws Error for a bad tag */
export function referenceOpen(input: ReferenceInput, sealed: Uint8Array): Buffer {
  const { cipher, key, nonce } = keyOf(input);
  const opening = createDecipheriv(cipher, key, nonce, { authTagLength: 16 }).setAAD(input.aad);
  opening.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([opening.update(sealed.subarray(0, -16)), opening.final()]);
}

function keyOf({ suite, key, nonce }: ReferenceInput) {
  if (suite === 'xchacha20-poly1305') {
    // draft-irtf-cfrg-xchacha-03 §2.3
    const subkey = hchacha20(key, nonce.subarray(0, 16));
    const rest = Buffer.concat([Buffer.alloc(4), nonce.subarray(16)]);
    return { cipher: 'chacha20-poly1305' as 'aes-256-gcm', key: subkey, nonce: rest };
  }
  if (suite === 'xaes-256-gcm') {
    // C2SP XAES-256-GCM, steps 3 to 6
    const blocks = [1, 2].map((counter) => Buffer.from([0, counter, 0x58, 0, ...nonce.subarray(0, 12)]));
    const derived = Buffer.concat(blocks.map((block) => referenceCmacBlock(key, block)));
    return { cipher: 'aes-256-gcm' as const, key: derived, nonce: nonce.subarray(12) };
  }
  return { cipher: suite as 'aes-256-gcm', key, nonce };
}

/** AES-256-CMAC of one whole block: C2SP XAES-256-GCM, steps 1, 2 and 5; NIST SP 800-38B §6.1 and §6.2. */
export function referenceCmacBlock(key: Uint8Array, block: Uint8Array): Buffer {
  const aes = createSecretKey(key);
  const encrypt = (input: Uint8Array) =>
    createCipheriv('aes-256-ecb', aes, null).setAutoPadding(false).update(input);
  const l = BigInt(`0x${encrypt(Buffer.alloc(16)).toString('hex')}`);
  const shifted = BigInt.asUintN(128, l << 1n) ^ (l >> 127n === 1n ? 0x87n : 0n);
  const k1 = Buffer.from(shifted.toString(16).padStart(32, '0'), 'hex');
  return encrypt(block.map((byte, at) => byte ^ (k1[at] ?? 0)));
}

/** draft-irtf-cfrg-xchacha-03 §2.2, with the quarter rounds of RFC 8439 §2.1. */
export function hchacha20(key: Uint8Array, nonce: Uint8Array): Buffer {
  const input = Buffer.concat([Buffer.from('expand 32-byte k'), key, nonce]);
  const state = Uint32Array.from({ length: 16 }, (_, word) => input.readUInt32LE(4 * word));
  const add = (a: number, b: number, into: number, left: number) => {
    state[a] = (state[a] ?? 0) + (state[b] ?? 0);
    const mixed = (state[into] ?? 0) ^ (state[a] ?? 0);
    state[into] = (mixed << left) | (mixed >>> (32 - left));
  };
  const quarterRound = (a: number, b: number, c: number, d: number) => {
    add(a, b, d, 16);
    add(c, d, b, 12);
    add(a, b, d, 8);
    add(c, d, b, 7);
  };
  for (let round = 0; round < 10; round++) {
    for (const column of [0, 1, 2, 3]) quarterRound(column, 4 + column, 8 + column, 12 + column);
    for (const column of [0, 1, 2, 3]) {
      quarterRound(column, 4 + ((column + 1) % 4), 8 + ((column + 2) % 4), 12 + ((column + 3) % 4));
    }
  }
  const output = Buffer.alloc(32);
  for (const [at, word] of [0, 1, 2, 3, 12, 13, 14, 15].entries())
    output.writeUInt32LE(state[word] ?? 0, 4 * at);
  return output;
}
