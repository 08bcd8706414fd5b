import type { ClassHandle, MainModule, SEALContext, Encryptor as SealEncryptor } from 'node-seal';
import { ciphertextBytes, ciphertextOf } from './ciphertext.ts';
import { type ParameterSet, residueBytes } from './parameters.ts';

/**
 * BGV by Microsoft SEAL, compiled to WebAssembly (node-seal): keys, encryption, decryption. It takes some 50 MB, and
 * what a failure leaves in its memory nobody knows: to be run in a thread or process of its own that ends when its work
 * is done. Nothing that comes from outside is to be loaded before ./ciphertext.ts has judged it.
 */
export interface Bgv {
  /** A pair of keys, as SEAL writes them without compression. The secret one is for the caller to wipe. */
  generateKeys(): {
    readonly publicKey: Uint8Array<ArrayBuffer>;
    readonly secretKey: Uint8Array<ArrayBuffer>;
  };
  /** @param publicKey of `publicKeyBytes`. @throws SealFailure */
  encryptor(publicKey: Uint8Array): Encryptor;
  /** @throws SealFailure */
  decryptor(secretKey: Uint8Array): Decryptor;
}

export interface Encryptor {
  /**
   * @param slots as many as the degree, each at most `largestTotal` in absolute value
   * @returns a ciphertext of `ciphertextBytes`
   */
  encrypt(slots: BigInt64Array): Uint8Array<ArrayBuffer>;
  close(): void;
}

export interface Decryptor {
  /** @param residues of one ciphertext or of a sum. @returns its slots; wrong ones, unnoticed, of a sum too noisy */
  decrypt(residues: Uint8Array): BigInt64Array<ArrayBuffer>;
  close(): void;
}

/** SEAL refused or failed. Why is not told: nothing about a decryption may get out. */
export class SealFailure extends Error {
  override readonly name = 'SealFailure';

  constructor() {
    super('SEAL failed');
  }
}

export function publicKeyBytes({ degree }: ParameterSet): number {
  return 113 + 2 * 3 * degree * 8;
}

export function secretKeyBytes({ degree }: ParameterSet): number {
  return 88 + 3 * degree * 8;
}

/** Loads SEAL and makes the context of the parameters. @throws SealFailure where they are not SEAL's own */
export async function openBgv(set: ParameterSet): Promise<Bgv> {
  const { default: load } = await import('node-seal');
  const seal = await load();
  return failing(() => bgvOf(seal, set));
}

function bgvOf(seal: MainModule, set: ParameterSet): Bgv {
  const none = seal.ComprModeType.none;
  const context = contextOf(seal, set);
  return {
    generateKeys: () =>
      failing(() => {
        const generator = new seal.KeyGenerator(context);
        const secret = generator.secretKey();
        const open = generator.createPublicKey();
        try {
          const publicKey = open.saveToArray(none) as Uint8Array<ArrayBuffer>;
          const secretKey = secret.saveToArray(none) as Uint8Array<ArrayBuffer>;
          return { publicKey, secretKey };
        } finally {
          release(open, secret, generator);
        }
      }),

    encryptor: (publicKey) =>
      failing(() => {
        if (publicKey.length !== publicKeyBytes(set)) throw new SealFailure();
        const key = new seal.PublicKey();
        key.loadFromArray(context, plain(publicKey));
        const parts = {
          encryptor: new seal.Encryptor(context, key),
          encoder: new seal.BatchEncoder(context),
          plaintext: new seal.Plaintext(),
          ciphertext: new seal.Ciphertext(),
        };
        return {
          encrypt: (slots) => failing(() => encrypt(seal, parts, slots, ciphertextBytes(set))),
          close: () => release(key, ...Object.values(parts)),
        };
      }),

    decryptor: (secretKey) =>
      failing(() => {
        if (secretKey.length !== secretKeyBytes(set)) throw new SealFailure();
        const key = new seal.SecretKey();
        key.loadFromArray(context, plain(secretKey));
        const decryptor = new seal.Decryptor(context, key);
        const encoder = new seal.BatchEncoder(context);
        const ciphertext = new seal.Ciphertext();
        const plaintext = new seal.Plaintext();
        return {
          decrypt: (residues) =>
            failing(() => {
              if (residues.length !== residueBytes(set)) throw new SealFailure();
              ciphertext.loadFromArray(context, ciphertextOf(set, residues));
              decryptor.decrypt(ciphertext, plaintext);
              return encoder.decodeBigInt64(plaintext) as BigInt64Array<ArrayBuffer>;
            }),
          close: () => release(plaintext, ciphertext, encoder, decryptor, key),
        };
      }),
  };
}

function contextOf(seal: MainModule, set: ParameterSet): SEALContext {
  const parameters = new seal.EncryptionParameters(seal.SchemeType.bgv);
  const moduli = seal.CoeffModulus.Create(set.degree, Int32Array.from(set.modulusBits));
  const plain = seal.PlainModulus.Batching(set.degree, 60);
  try {
    parameters.setPolyModulusDegree(set.degree);
    parameters.setCoeffModulus(moduli);
    parameters.setPlainModulus(plain);
    const context = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
    const named = hexOf(context.firstParmsId().values() as BigUint64Array);
    if (!context.parametersSet() || named !== set.ciphertextParametersId) throw new SealFailure();
    return context;
  } finally {
    release(plain, moduli, parameters);
  }
}

interface EncryptionParts {
  readonly encryptor: SealEncryptor;
  readonly encoder: InstanceType<MainModule['BatchEncoder']>;
  readonly plaintext: InstanceType<MainModule['Plaintext']>;
  readonly ciphertext: InstanceType<MainModule['Ciphertext']>;
}

function encrypt(
  seal: MainModule,
  { encryptor, encoder, plaintext, ciphertext }: EncryptionParts,
  slots: BigInt64Array,
  bytes: number,
): Uint8Array<ArrayBuffer> {
  encoder.encode(slots, plaintext);
  encryptor.encrypt(plaintext, ciphertext);
  const written = ciphertext.saveToArray(seal.ComprModeType.none) as Uint8Array<ArrayBuffer>;
  if (written.length !== bytes) throw new SealFailure();
  return written;
}

/** SEAL's exceptions are none of JavaScript's, and hold what must not get out. */
function failing<T>(work: () => T): T {
  try {
    return work();
  } catch {
    throw new SealFailure();
  }
}

/** It takes no Buffer. */
function plain(bytes: Uint8Array): Uint8Array {
  return bytes.constructor === Uint8Array
    ? bytes
    : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Its memory is not collected. */
function release(...objects: readonly ClassHandle[]): void {
  for (const object of objects) object.delete();
}

function hexOf(words: BigUint64Array): string {
  const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
