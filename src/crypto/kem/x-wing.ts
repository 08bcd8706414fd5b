import { createHash, createPublicKey } from 'node:crypto';
import { concatBytes, utf8, wipe } from '../../core/bytes.ts';
import { newX25519, x25519, x25519PrivateKey, x25519PublicKey, x25519Raw } from './curves.ts';
import { type Kem, type MlKemName, mlKemSeedBytes, mlKemSizes, requireBytes } from './kem.ts';

/** Five ASCII art characters are the label, draft-connolly-cfrg-xwing-kem-10 §5.3. */
const label = utf8('\\.//^\\');
const seedBytes = 32;
const x25519Bytes = 32;
const { publicKeyBytes, ciphertextBytes } = mlKemSizes['ml-kem-768'];

/**
 * X-Wing, draft-connolly-cfrg-xwing-kem-10: X25519 and ML-KEM-768, a secret that stands while one of them does.
 * A public key and a ciphertext are ML-KEM's part and then X25519's. X25519 takes what RFC 7748 has it take, as the
 * bytes themselves go into the secret; a point of low order, which makes that half known to all, is refused.
 */
export function xWing(mlKem: (name: MlKemName) => Kem): Kem {
  const kem = mlKem('ml-kem-768');
  return {
    publicKeyBytes: publicKeyBytes + x25519Bytes,
    ciphertextBytes: ciphertextBytes + x25519Bytes,
    publicKey(raw) {
      if (raw.length !== publicKeyBytes + x25519Bytes) return undefined;
      const m = kem.publicKey(raw.subarray(0, publicKeyBytes));
      if (m === undefined) return undefined;
      const xBytes = raw.slice(publicKeyBytes);
      const x = x25519PublicKey(xBytes);
      return {
        encapsulate() {
          const ephemeral = newX25519();
          const secretX = x25519(ephemeral.privateKey, x);
          const ofM = m.encapsulate();
          if (secretX === undefined || ofM === undefined) return undefined;
          const ciphertextX = x25519Raw(ephemeral.publicKey);
          return {
            ciphertext: concatBytes(ofM.ciphertext, ciphertextX),
            sharedSecret: combine({ secretM: ofM.sharedSecret, secretX, ciphertextX, publicX: xBytes }),
          };
        },
      };
    },
    privateKey(seed) {
      requireBytes('seed', seed, seedBytes);
      // §5.2.1, expandDecapsulationKey.
      const expanded = createHash('shake256', { outputLength: mlKemSeedBytes + x25519Bytes })
        .update(seed)
        .digest();
      try {
        const m = kem.privateKey(expanded.subarray(0, mlKemSeedBytes));
        const x = x25519PrivateKey(expanded.subarray(mlKemSeedBytes));
        const publicX = x25519Raw(createPublicKey(x));
        return {
          get publicKey() {
            return concatBytes(m.publicKey, publicX);
          },
          decapsulate(ciphertext) {
            if (ciphertext.length !== ciphertextBytes + x25519Bytes) return undefined;
            const ciphertextX = ciphertext.subarray(ciphertextBytes);
            const secretX = x25519(x, x25519PublicKey(ciphertextX));
            const secretM = m.decapsulate(ciphertext.subarray(0, ciphertextBytes));
            if (secretX === undefined || secretM === undefined) return undefined;
            return combine({ secretM, secretX, ciphertextX, publicX });
          },
        };
      } finally {
        wipe(expanded);
      }
    },
  };
}

/** §5.3. Both secrets are wiped. */
function combine({
  secretM,
  secretX,
  ciphertextX,
  publicX,
}: Record<'secretM' | 'secretX' | 'ciphertextX' | 'publicX', Uint8Array>): Uint8Array {
  try {
    const hash = createHash('sha3-256').update(secretM).update(secretX);
    return hash.update(ciphertextX).update(publicX).update(label).digest();
  } finally {
    wipe(secretM, secretX);
  }
}
