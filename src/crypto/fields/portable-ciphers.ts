import { gcm, unsafe } from '@noble/ciphers/aes.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { joined } from '../payload/format.ts';
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
      seal: (nonce, plaintext, aad) => [gcm(kept, nonce, aad).encrypt(plaintext)],
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
  toText,
  fromText,
};

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const ascii = new TextDecoder();
const letters = new TextEncoder().encode(alphabet);

function toText(...parts: readonly Uint8Array[]): string {
  const bytes = joined(...parts);
  const text = new Uint8Array(Math.ceil((bytes.length * 4) / 3));
  for (let at = 0, bits = 0, held = 0, out = 0; out < text.length; out += 1) {
    if (bits < 6) {
      held = ((held << 8) | (bytes[at] ?? 0)) & 0x3fff;
      bits += 8;
      at += 1;
    }
    bits -= 6;
    text[out] = letters[(held >> bits) & 63] ?? 0;
  }
  return ascii.decode(text);
}

function fromText(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  let held = 0;
  let bits = 0;
  let out = 0;
  for (const letter of text) {
    const value = alphabet.indexOf(letter);
    if (value < 0) return undefined;
    held = ((held << 6) | value) & 0x3fff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[out] = held >> bits;
      out += 1;
    }
  }
  // Canonical: no letter that carries nothing, and no bits that do not belong to it.
  return bits < 6 && (held & ((1 << bits) - 1)) === 0 ? bytes : undefined;
}

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
