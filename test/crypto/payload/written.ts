import { createCipheriv, hkdfSync } from 'node:crypto';

// The format as src/crypto/payload/README.md writes it down, on node:crypto alone: what the service and the client
// make and open is held against this.

interface Written {
  readonly dataKey: Uint8Array;
  readonly wrapped: Uint8Array;
  readonly associatedData: Uint8Array;
  readonly plaintext: Uint8Array;
}

function fields(...parts: readonly (string | Uint8Array)[]): Buffer {
  const pieces = parts.flatMap((part) => {
    const bytes = Buffer.from(part);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return [length, bytes];
  });
  return Buffer.concat(pieces);
}

function gcm(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function start(kind: number, wrapped: Uint8Array): Buffer {
  return Buffer.concat([
    Buffer.from([0x53, 2, 1, kind, wrapped.length >> 8, wrapped.length & 255]),
    Buffer.from(wrapped),
  ]);
}

export function writtenMessage(
  { dataKey, wrapped, associatedData, plaintext }: Written,
  nonce: Uint8Array,
): Buffer {
  const header = start(1, wrapped);
  const info = fields('stathera/data-key/message/v1', header.subarray(0, 4), wrapped.subarray(36, 52));
  const derived = Buffer.from(hkdfSync('sha256', dataKey, '', info, 64));
  const sealed = gcm(derived.subarray(0, 32), nonce, plaintext, associatedData);
  return Buffer.concat([header, derived.subarray(32), nonce, sealed]);
}

export function writtenStream(written: Written, salt: Uint8Array): Buffer {
  const { plaintext } = written;
  const count = Math.max(1, Math.ceil(plaintext.length / 65_536));
  const segments = Array.from({ length: count }, (_, number) =>
    plaintext.subarray(number * 65_536, (number + 1) * 65_536),
  );
  return writtenSegments(written, salt, segments);
}

/** A stream of any segments, also of lengths that the format does not have. */
export function writtenSegments(
  { dataKey, wrapped, associatedData }: Omit<Written, 'plaintext'>,
  salt: Uint8Array,
  segments: readonly Uint8Array[],
): Buffer {
  const header = start(3, wrapped);
  const id = wrapped.subarray(36, 52);
  const info = fields('stathera/data-key/stream/v1', header.subarray(0, 4), id, associatedData);
  const derived = Buffer.from(hkdfSync('sha256', dataKey, salt, info, 71));
  const pieces = [header, derived.subarray(32, 64), salt];
  for (const [number, segment] of segments.entries()) {
    const nonce = Buffer.alloc(12);
    derived.copy(nonce, 0, 64);
    nonce.writeUInt32BE(number, 7);
    nonce[11] = number === segments.length - 1 ? 1 : 0;
    pieces.push(gcm(derived.subarray(0, 32), nonce, segment, new Uint8Array()));
  }
  return Buffer.concat(pieces);
}
