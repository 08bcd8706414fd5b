import { type Cipheriv, createCipheriv } from 'node:crypto';
import type { RandomSource } from './uniform.ts';

/** Bytes of one seed's stream. */
export interface NoiseStream {
  readonly fill: RandomSource;
  /** Ends it: asked for more, it throws. */
  end(): void;
}

/**
 * The keystream of AES-256-CTR under `seed` from block 0 on: whoever has the seed has the same bytes again, nobody
 * else can tell them from random ones.
 * @param seed 32 bytes, used for one stream and nothing else; for the caller to wipe
 * @see NIST SP 800-38A §6.5
 */
export function createNoiseStream(seed: Uint8Array): NoiseStream {
  if (seed.length !== 32) throw new RangeError('seed: 32 bytes');
  let cipher: Cipheriv | undefined = createCipheriv('aes-256-ctr', seed, new Uint8Array(16));
  return {
    fill(target) {
      if (cipher === undefined) throw new Error('the stream was ended');
      const bytes = cipher.update(new Uint8Array(target.length));
      target.set(bytes);
      bytes.fill(0);
    },
    end() {
      cipher?.final();
      cipher = undefined;
    },
  };
}
