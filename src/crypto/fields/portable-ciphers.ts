import { gcm, unsafe } from '@noble/ciphers/aes.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { type AesBlocks, blockBytes, type FieldCiphers } from './ciphers.ts';

/**
 * Field encryption in JavaScript alone, for browsers, workers and other runtimes. Its AES looks tables up at places
 * that depend on the key, so that whoever shares the processor's cache may learn of it (Bernstein 2005): a page's own
 * process is where it is for.
 */
export const portableCiphers: FieldCiphers = {
  random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
  blocks: (key) => aesBlocks(Uint8Array.from(key)),
  gcm(key) {
    const kept = Uint8Array.from(key);
    return {
      seal: (nonce, plaintext, aad) => gcm(kept, nonce, aad).encrypt(plaintext),
      open(nonce, sealed, aad) {
        try {
          return gcm(kept, nonce, aad).decrypt(sealed);
        } catch {
          return undefined;
        }
      },
    };
  },
  hmac(key) {
    const keyed = hmac.create(sha256, key);
    return (data) => keyed.clone().update(data).digest();
  },
};

const littleEndian = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

function aesBlocks(key: Uint8Array): AesBlocks {
  const schedule = unsafe.expandKeyLE(key);
  key.fill(0);
  return {
    encrypt(blocks) {
      for (let at = 0; at < blocks.length; at += blockBytes) encryptBlock(schedule, blocks, at);
    },
  };
}

const block = new Uint8Array(blockBytes);
const words = new Uint32Array(block.buffer);

function encryptBlock(schedule: Uint32Array, blocks: Uint8Array, at: number): void {
  for (let i = 0; i < blockBytes; i += 1) block[i] = blocks[at + i] ?? 0;
  if (littleEndian) {
    const { s0, s1, s2, s3 } = unsafe.encrypt(
      schedule,
      words[0] ?? 0,
      words[1] ?? 0,
      words[2] ?? 0,
      words[3] ?? 0,
    );
    words[0] = s0;
    words[1] = s1;
    words[2] = s2;
    words[3] = s3;
  } else unsafe.encryptBlock(schedule, block);
  for (let i = 0; i < blockBytes; i += 1) blocks[at + i] = block[i] ?? 0;
}
