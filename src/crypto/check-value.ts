import { createCipheriv, createHmac } from 'node:crypto';
import { wipe } from '../core/bytes.ts';

/** As ANSI X9.24-1 has of AES keys: enough to notice a wrong key, too little to find or forge anything. */
export const checkValueBytes = 5;

const zeros = new Uint8Array(16);

/**
 * The check value of a key: the first 5 bytes of its MAC of 16 zero bytes, AES-CMAC (NIST SP 800-38B) of a key of 16, 24
 * or 32 bytes, HMAC of the hash that long of 48 and 64 bytes. Not the first bytes of AES of zeros, which are GCM's hash
 * key.
 * @throws RangeError for a key of another length
 */
export function checkValue(key: Uint8Array): Uint8Array {
  if (key.length === 48 || key.length === 64) {
    const mac = createHmac(key.length === 48 ? 'sha384' : 'sha512', key)
      .update(zeros)
      .digest();
    return Uint8Array.from(mac.subarray(0, checkValueBytes));
  }
  if (![16, 24, 32].includes(key.length)) throw new RangeError('a key of this length has no check value');
  const subkey = double(encryptBlock(key, zeros));
  // One whole block: the message, all zeros, and the first subkey (SP 800-38B §6.2).
  const mac = encryptBlock(key, subkey);
  wipe(subkey);
  return Uint8Array.from(mac.subarray(0, checkValueBytes));
}

function encryptBlock(key: Uint8Array, block: Uint8Array): Uint8Array {
  const cipher = createCipheriv(`aes-${key.length * 8}-ecb`, key, null).setAutoPadding(false);
  const encrypted = cipher.update(block);
  cipher.final();
  return encrypted;
}

/** Times x in GF(2^128), SP 800-38B §6.1; overwrites its input. */
function double(block: Uint8Array): Uint8Array {
  let carry = 0;
  for (let at = 15; at >= 0; at -= 1) {
    const byte = block[at] ?? 0;
    block[at] = ((byte << 1) | carry) & 0xff;
    carry = byte >> 7;
  }
  block[15] = (block[15] ?? 0) ^ (-carry & 0x87);
  return block;
}
