import { createHmac, hkdfSync } from 'node:crypto';

// Confirmations and derived keys word for word from src/exchange/README.md, on nothing of the service.

function prefixed(...fields: (Uint8Array | string)[]): Buffer {
  return Buffer.concat(
    fields.flatMap((field) => {
      const bytes = Buffer.from(field);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

export interface Written {
  readonly secret: Uint8Array;
  readonly suite: string;
  readonly publicKey: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly info?: Uint8Array;
}

export function writtenConfirmation(
  role: 'encapsulator' | 'decapsulator',
  { secret, suite, publicKey, ciphertext, info = Buffer.alloc(0) }: Written,
): Buffer {
  const key = hkdfSync('sha256', secret, '', prefixed('stathera/exchange/confirm/v1', suite), 32);
  return createHmac('sha256', Buffer.from(key))
    .update(prefixed(role, publicKey, ciphertext, info))
    .digest();
}

export function writtenDerivation(
  secret: Uint8Array,
  suite: string,
  keys: readonly [Uint8Array, Uint8Array],
  { label, info = Buffer.alloc(0), bytes = 32 }: { label: string; info?: Uint8Array; bytes?: number },
): Buffer {
  const [lower, higher] = [...keys].toSorted(Buffer.compare) as [Uint8Array, Uint8Array];
  const length = Buffer.from([bytes >> 24, bytes >> 16, bytes >> 8, bytes]);
  const fixed = prefixed('stathera/exchange/derive/v1', suite, lower, higher, label, info, length);
  return Buffer.from(hkdfSync('sha256', secret, '', fixed, bytes));
}
