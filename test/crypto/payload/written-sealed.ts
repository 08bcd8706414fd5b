import { createCipheriv, createHash, hkdfSync } from 'node:crypto';
import * as other from 'hpke';

// The format of sealed streams as src/crypto/payload/README.md writes it down, on node:crypto and the `hpke` package:
// what the client makes and opens is held against this.

const kems = {
  'x-wing': { number: 32, factory: other.KEM_MLKEM768_X25519 },
  'ml-kem-768': { number: 34, factory: other.KEM_ML_KEM_768 },
  x25519: { number: 36, factory: other.KEM_DHKEM_X25519_HKDF_SHA256 },
  p256: { number: 37, factory: other.KEM_DHKEM_P256_HKDF_SHA256 },
} as const;

interface WrittenRecipient {
  readonly algorithm: keyof typeof kems;
  readonly keyId: string;
  readonly keyVersion: number;
  readonly publicKey: Uint8Array;
}

function fields(...parts: readonly (string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

async function entry(
  { algorithm, keyId, keyVersion, publicKey }: WrittenRecipient,
  dataKey: Uint8Array,
): Promise<Buffer> {
  const { number, factory } = kems[algorithm];
  const suite = new other.CipherSuite<other.Key>(factory, other.KDF_HKDF_SHA256, other.AEAD_AES_256_GCM);
  const head = Buffer.alloc(21);
  head[0] = number;
  head.set(Buffer.from(keyId.replaceAll('-', ''), 'hex'), 1);
  head.writeUInt32BE(keyVersion, 17);
  const { encapsulatedSecret, ciphertext } = await suite.Seal(
    await suite.DeserializePublicKey(Uint8Array.from(publicKey)),
    Uint8Array.from(dataKey),
    { info: Buffer.from('stathera/sealed/data-key/v1'), aad: head },
  );
  return Buffer.concat([head, encapsulatedSecret, ciphertext]);
}

interface WrittenSealed {
  readonly recipients: readonly WrittenRecipient[];
  readonly dataKey: Uint8Array;
  readonly salt: Uint8Array;
  readonly associatedData: Uint8Array;
  readonly plaintext: Uint8Array;
}

export async function writtenSealed(written: WrittenSealed): Promise<Buffer> {
  const { recipients, dataKey } = written;
  const entries = await Promise.all(recipients.map((recipient) => entry(recipient, dataKey)));
  const start = Buffer.concat([
    Buffer.from([0x53, 3, 1, 3, recipients.length >> 8, recipients.length & 255]),
    ...entries,
  ]);
  return Buffer.concat([start, afterStart(start, written)]);
}

/** What follows the recipients, whatever they are. */
export function afterStart(
  start: Uint8Array,
  { dataKey, salt, associatedData, plaintext }: Omit<WrittenSealed, 'recipients'>,
): Buffer {
  const hash = createHash('sha256').update(start).digest();
  const info = fields('stathera/sealed/stream/v1', hash, associatedData);
  const derived = Buffer.from(hkdfSync('sha256', dataKey, salt, info, 71));
  const count = Math.max(1, Math.ceil(plaintext.length / 65_536));
  const segments = Array.from({ length: count }, (_, number) => {
    const nonce = Buffer.alloc(12);
    derived.copy(nonce, 0, 64);
    nonce.writeUInt32BE(number, 7);
    nonce[11] = number === count - 1 ? 1 : 0;
    const cipher = createCipheriv('aes-256-gcm', derived.subarray(0, 32), nonce);
    const segment = plaintext.subarray(number * 65_536, (number + 1) * 65_536);
    return Buffer.concat([cipher.update(segment), cipher.final(), cipher.getAuthTag()]);
  });
  return Buffer.concat([derived.subarray(32, 64), Buffer.from(salt), ...segments]);
}
