import { type AesBlocks, blockBytes, type FieldCiphers } from './ciphers.ts';

/** Deterministic authenticated encryption, AES-SIV (RFC 5297): one key, many places. */
export interface Siv {
  /**
   * A place, authenticated by all that is sealed there. What it costs is paid here, once.
   * @param associated up to 126 components (§2.6)
   */
  at(associated: readonly Uint8Array[]): SivPlace;
}

/** Takes several values at a time: they go through the block cipher together. */
export interface SivPlace {
  /** @returns synthetic IV(16) ‖ ciphertext of each */
  seal(plaintexts: readonly Uint8Array[]): Uint8Array[];
  /** @returns undefined for what was not sealed here */
  open(sealed: readonly Uint8Array[]): (Uint8Array | undefined)[];
}

const componentsLimit = 126;

/** @param key 32, 48 or 64 bytes: half of it for CMAC, half for CTR (§2.2). @throws RangeError */
export function createSiv(ciphers: Pick<FieldCiphers, 'blocks'>, key: Uint8Array): Siv {
  if (![32, 48, 64].includes(key.length)) throw new RangeError('key must have 32, 48 or 64 bytes');
  const mac = createCmac(ciphers.blocks(key.subarray(0, key.length / 2)));
  const counter = ciphers.blocks(key.subarray(key.length / 2));

  return {
    at(associated) {
      if (associated.length > componentsLimit) throw new RangeError('too many components');
      // S2V (§2.4) of all components but the last, which is the plaintext.
      let [state] = mac([new Uint8Array(blockBytes)]) as [Uint8Array];
      for (const component of associated) {
        const [tag] = mac([component]) as [Uint8Array];
        state = exclusiveOr(doubled(state), tag);
      }
      const vectors = (plaintexts: readonly Uint8Array[]) => {
        const last = plaintexts.map((plaintext) => lastComponent(state, plaintext));
        try {
          return mac(last);
        } finally {
          for (const component of last) component.fill(0);
        }
      };
      return {
        seal(plaintexts) {
          const ivs = vectors(plaintexts);
          const out = plaintexts.map((plaintext, index) => joined(ivs[index] as Uint8Array, plaintext));
          applyCounter(counter, out);
          return out;
        },
        open(sealed) {
          const whole = sealed.map((one) => Uint8Array.from(one));
          const long = whole.filter((one) => one.length >= blockBytes);
          applyCounter(counter, long);
          const plaintexts = long.map((one) => one.subarray(blockBytes));
          const expected = vectors(plaintexts);
          const opened = new Map<Uint8Array, Uint8Array>();
          long.forEach((one, index) => {
            if (same(one.subarray(0, blockBytes), expected[index] as Uint8Array))
              opened.set(one, one.subarray(blockBytes));
            else one.fill(0);
          });
          return whole.map((one) => opened.get(one));
        },
      };
    },
  };
}

/** What S2V gives to its last CMAC (§2.4): the plaintext's end, or all of it padded, with the state in it. */
function lastComponent(state: Uint8Array, plaintext: Uint8Array): Uint8Array {
  if (plaintext.length >= blockBytes) {
    const out = Uint8Array.from(plaintext);
    const at = out.length - blockBytes;
    for (let i = 0; i < blockBytes; i += 1) out[at + i] = (out[at + i] ?? 0) ^ (state[i] ?? 0);
    return out;
  }
  const padded = new Uint8Array(blockBytes);
  padded.set(plaintext);
  padded[plaintext.length] = 0x80;
  return exclusiveOr(doubled(state), padded);
}

/** CTR from the synthetic IV that each begins with (§2.5), over what follows it, in place. */
function applyCounter(aes: AesBlocks, messages: readonly Uint8Array[]): void {
  let total = 0;
  for (const { length } of messages) total += Math.ceil((length - blockBytes) / blockBytes);
  const stream = new Uint8Array(total * blockBytes);
  const view = new DataView(stream.buffer);
  let at = 0;
  for (const message of messages) {
    const blocks = Math.ceil((message.length - blockBytes) / blockBytes);
    for (let count = 0; count < blocks; count += 1, at += blockBytes) {
      stream.set(message.subarray(0, blockBytes), at);
      stream[at + 8] = (stream[at + 8] ?? 0) & 0x7f;
      // The bit that is cleared takes the carry: fewer than 2^31 blocks never reach the next word.
      view.setUint32(at + 12, (view.getUint32(at + 12) & 0x7fffffff) + count);
    }
  }
  aes.encrypt(stream);
  at = 0;
  for (const message of messages) {
    for (let i = blockBytes; i < message.length; i += 1, at += 1)
      message[i] = (message[i] ?? 0) ^ (stream[at] ?? 0);
    at = Math.ceil(at / blockBytes) * blockBytes;
  }
  stream.fill(0);
}

/** AES-CMAC (NIST SP 800-38B §6.2) of several messages together. */
function createCmac(aes: AesBlocks): (messages: readonly Uint8Array[]) => Uint8Array[] {
  const zero = new Uint8Array(blockBytes);
  aes.encrypt(zero);
  const whole = doubled(zero);
  const padded = doubled(whole);

  function prepared(message: Uint8Array): Uint8Array {
    const blocks = Math.max(1, Math.ceil(message.length / blockBytes));
    const out = new Uint8Array(blocks * blockBytes);
    out.set(message);
    const isWhole = message.length === out.length;
    if (!isWhole) out[message.length] = 0x80;
    const subkey = isWhole ? whole : padded;
    const at = out.length - blockBytes;
    for (let i = 0; i < blockBytes; i += 1) out[at + i] = (out[at + i] ?? 0) ^ (subkey[i] ?? 0);
    return out;
  }

  return (messages) => {
    const inputs = messages.map(prepared);
    const states = inputs.map(() => new Uint8Array(blockBytes));
    let active = inputs.map((_, index) => index);
    for (let at = 0; active.length > 0; at += blockBytes) {
      const step = new Uint8Array(active.length * blockBytes);
      active.forEach((index, place) => {
        const input = inputs[index] as Uint8Array;
        const state = states[index] as Uint8Array;
        for (let i = 0; i < blockBytes; i += 1)
          step[place * blockBytes + i] = (state[i] ?? 0) ^ (input[at + i] ?? 0);
      });
      aes.encrypt(step);
      active.forEach((index, place) =>
        (states[index] as Uint8Array).set(step.subarray(place * blockBytes, (place + 1) * blockBytes)),
      );
      active = active.filter((index) => at + blockBytes < (inputs[index] as Uint8Array).length);
    }
    for (const input of inputs) input.fill(0);
    return states;
  };
}

/** Multiplication by x in GF(2^128) (RFC 5297 §2.3), without a branch on what is doubled. */
function doubled(block: Uint8Array): Uint8Array {
  const out = new Uint8Array(blockBytes);
  for (let i = 0; i < blockBytes; i += 1) out[i] = ((block[i] ?? 0) << 1) | ((block[i + 1] ?? 0) >> 7);
  out[blockBytes - 1] = (out[blockBytes - 1] ?? 0) ^ (-((block[0] ?? 0) >> 7) & 0x87);
  return out;
}

function exclusiveOr(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(blockBytes);
  for (let i = 0; i < blockBytes; i += 1) out[i] = (a[i] ?? 0) ^ (b[i] ?? 0);
  return out;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  let difference = 0;
  for (let i = 0; i < blockBytes; i += 1) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}
