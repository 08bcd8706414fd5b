import { createHash } from 'node:crypto';
import { webCiphers } from '../../../src/client/web-ciphers.ts';
import type { PayloadCiphers } from '../../../src/crypto/payload/ciphers.ts';
import { deriveMessageKey, deriveStreamKey, sameCommitment } from '../../../src/crypto/payload/derive.ts';
import { dataKeyId, encodePayloadHeader, parsePayloadHeader } from '../../../src/crypto/payload/format.ts';
import { createMessageSealer, openMessage } from '../../../src/crypto/payload/message.ts';
import { nodeCiphers, transientCiphers } from '../../../src/crypto/payload/node-ciphers.ts';
import { openSegments, sealSegments } from '../../../src/crypto/payload/segments.ts';

export const bothCiphers: readonly [string, PayloadCiphers][] = [
  ['node:crypto', nodeCiphers],
  ['node:crypto, for once', transientCiphers()],
  ['Web Crypto', webCiphers],
];

/** Bytes that look random and are the same each time. */
export function bytesOf(seed: string, length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, block) =>
    createHash('sha256').update(`${seed}/${block}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, length);
}

export function wrappedOf(seed: string, length = 144): Uint8Array {
  const wrapped = bytesOf(seed, length);
  wrapped.set([0x53, 1, 1, 2]);
  return wrapped;
}

export interface Given {
  readonly dataKey: Uint8Array;
  readonly associatedData: Uint8Array;
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(piece.slice());
  return Buffer.concat(pieces);
}

/** Gives `bytes` in pieces of these lengths in turn, over and over. */
export async function* inPieces(bytes: Uint8Array, lengths: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const length = lengths[turn % lengths.length] ?? 1;
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

export async function sealMessage(
  ciphers: PayloadCiphers,
  { dataKey, associatedData }: Given,
  wrapped: Uint8Array,
  plaintext: Uint8Array,
): Promise<Uint8Array> {
  const secret = await ciphers.importSecret(dataKey);
  const key = await deriveMessageKey(ciphers, secret, { id: dataKeyId(wrapped) });
  return createMessageSealer(ciphers, key, wrapped).seal(plaintext, associatedData);
}

/** What a holder of the data key opens, messages and streams alike; undefined when anything is wrong. */
export async function open(
  ciphers: PayloadCiphers,
  { dataKey, associatedData }: Given,
  bytes: Uint8Array,
  lengths: readonly number[] = [1 << 20],
): Promise<Buffer | undefined> {
  const header = parsePayloadHeader(bytes);
  if (header === undefined || header === 'incomplete') return undefined;
  const secret = await ciphers.importSecret(dataKey);
  const id = dataKeyId(header.wrapped);
  if (header.kind === 'message') {
    const opened = await openMessage(await deriveMessageKey(ciphers, secret, { id }), header, {
      bytes,
      associatedData,
    });
    return opened && Buffer.from(opened);
  }
  const { salt = new Uint8Array() } = header;
  const key = await deriveStreamKey(ciphers, secret, { id, salt, associatedData });
  if (!sameCommitment(key.commitment, header.commitment)) return undefined;
  const segments = inPieces(bytes.subarray(header.headerBytes), lengths);
  return collect(openSegments(key, segments)).catch(() => undefined);
}

export async function sealStream(
  ciphers: PayloadCiphers,
  { dataKey, associatedData }: Given,
  wrapped: Uint8Array,
  { plaintext, lengths = [1 << 20] }: { plaintext: Uint8Array; lengths?: readonly number[] },
): Promise<Buffer> {
  const secret = await ciphers.importSecret(dataKey);
  const salt = ciphers.random(32);
  const key = await deriveStreamKey(ciphers, secret, { id: dataKeyId(wrapped), salt, associatedData });
  const header = encodePayloadHeader({ kind: 'stream', wrapped, commitment: key.commitment, salt });
  return Buffer.concat([header, await collect(sealSegments(key, inPieces(plaintext, lengths)))]);
}
