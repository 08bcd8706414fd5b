import { secretBytes } from '../../core/bytes.ts';
import type { SignatureMechanism } from '../hsm.ts';

/**
 * A batch of operations for the fast lane, packed into one ArrayBuffer that travels there and back.
 * Layout: u32 count · count × 12 u32 words · for each item its inputs and room for its output.
 * Words of an item: kind, generation, handle (2), second handle (2), AAD bytes, data bytes, second AAD
 * bytes, then, written by the worker, status and output bytes (or the PKCS#11 return value of a failure),
 * and zero prefix bytes.
 * Inputs of an item: nonce(12) ‖ AAD ‖ data ‖ second nonce(12) ‖ second AAD; see `Operation`.
 */
export const maxBatchOperations = 64;
/** A batch takes no further item beyond this; one larger item travels alone. */
export const maxBatchBytes = 256 * 1024;

export const nonceBytes = 12;
export const tagBytes = 16;

const gcmKinds = ['encrypt', 'decrypt', 'reencrypt'] as const;
const macKinds = ['hmac-256', 'hmac-384', 'hmac-512', 'cmac'] as const;
const signatureKinds = ['ecdsa', 'rsa-pkcs1', 'rsa-pss'] as const satisfies SignatureMechanism[];
const kinds = [...gcmKinds, ...macKinds, 'random', ...signatureKinds, 'rsa-decrypt'] as const;
export type OperationKind = (typeof kinds)[number];
const kindNumbers = Object.fromEntries(kinds.map((kind, number) => [kind, number])) as Readonly<
  Record<OperationKind, number>
>;
/** The hash's length, and one block of AES; the longest signatures: of P-521, and of RSA-4096. */
const fixedOutputBytes: Partial<Record<OperationKind, number>> = {
  ...{ 'hmac-256': 32, 'hmac-384': 48, 'hmac-512': 64, cmac: 16 },
  ...{ ecdsa: 132, 'rsa-pkcs1': 512, 'rsa-pss': 512, 'rsa-decrypt': 512 },
};

function isGcm(kind: OperationKind): boolean {
  return (gcmKinds as readonly OperationKind[]).includes(kind);
}

/** What private keys do takes longer than anything else: it has a lane of its own. */
export function isPrivate(kind: OperationKind): kind is SignatureMechanism | 'rsa-decrypt' {
  return kind === 'rsa-decrypt' || (signatureKinds as readonly OperationKind[]).includes(kind);
}

/** Whether a forged input makes the operation fail; the others have no input to refuse. */
export function mayRefuse(kind: OperationKind): boolean {
  return kind === 'decrypt' || kind === 'reencrypt' || kind === 'rsa-decrypt';
}

/** `stale`: the generation is over or the handle unknown to the token. `device`: the device fails. */
export type ItemStatus = 'ok' | 'rejected' | 'stale' | 'device';
const statuses = ['ok', 'rejected', 'stale', 'device'] as const satisfies ItemStatus[];
const statusNumbers = { ok: 0, rejected: 1, stale: 2, device: 3 } as const;

const countBytes = 4;
const itemWords = 12;
const itemBytes = itemWords * 4;

/**
 * One operation. `payload`: for encrypt and decrypt nonce ‖ AAD ‖ data; for reencrypt the same and
 * nonce ‖ AAD of the new ciphertext; for a MAC or a signature the data; for random nothing.
 */
export interface Operation {
  readonly kind: OperationKind;
  generation: number;
  /** 8 bytes. */
  handle: Uint8Array;
  secondHandle: Uint8Array;
  readonly aadBytes: number;
  /** Bytes of data in the payload; for random the bytes asked for. */
  readonly dataBytes: number;
  readonly secondAadBytes: number;
  /** For reencrypt: so many bytes at the start of the plaintext must be zero. Default 0. */
  readonly zeroPrefixBytes?: number;
  readonly payload: Uint8Array;
}

export const noHandle = new Uint8Array(8);

/** Room for an item's output. Decryption gets the ciphertext's length: some modules want it. */
export function outputBytes(kind: OperationKind, dataBytes: number): number {
  if (kind === 'encrypt') return dataBytes + tagBytes;
  return fixedOutputBytes[kind] ?? dataBytes;
}

/** Bytes `operation` takes in a batch. */
export function operationBytes(operation: Operation): number {
  return itemBytes + operation.payload.length + outputBytes(operation.kind, operation.dataBytes);
}

export const batchOverheadBytes = countBytes;

/**
 * Writes `operations` into `buffer`.
 * @returns the bytes used
 * @throws RangeError when they do not fit
 */
export function packBatch(operations: readonly Operation[], buffer: ArrayBuffer): number {
  const words = new Uint32Array(buffer, 0, Math.floor(buffer.byteLength / 4));
  const bytes = new Uint8Array(buffer);
  let at = countBytes + operations.length * itemBytes;
  if (at > buffer.byteLength) throw new RangeError('the batch does not fit its buffer');
  words[0] = operations.length;
  let word = 1;
  for (const operation of operations) {
    words[word] = kindNumbers[operation.kind];
    words[word + 1] = operation.generation;
    bytes.set(operation.handle, (word + 2) * 4);
    bytes.set(operation.secondHandle, (word + 4) * 4);
    words[word + 6] = operation.aadBytes;
    words[word + 7] = operation.dataBytes;
    words[word + 8] = operation.secondAadBytes;
    // A worker that dies leaves failures behind, never an empty success.
    words[word + 9] = statusNumbers.device;
    words[word + 10] = 0;
    words[word + 11] = operation.zeroPrefixBytes ?? 0;
    word += itemWords;
    bytes.set(operation.payload, at);
    at += operation.payload.length + outputBytes(operation.kind, operation.dataBytes);
  }
  if (at > buffer.byteLength) throw new RangeError('the batch does not fit its buffer');
  return at;
}

/** One item as the worker sees it: views into the batch, and `settle` to write its outcome. */
export interface BatchItem {
  readonly kind: OperationKind;
  readonly generation: number;
  readonly handle: Buffer;
  readonly secondHandle: Buffer;
  readonly nonce: Buffer;
  readonly aad: Buffer;
  readonly data: Buffer;
  readonly secondNonce: Buffer;
  readonly secondAad: Buffer;
  readonly zeroPrefixBytes: number;
  readonly output: Buffer;
  /** @param detail output bytes when `ok`, else the PKCS#11 return value (0 for none) */
  settle(status: ItemStatus, detail: number): void;
}

/**
 * Reads a batch item by item.
 * @throws RangeError when lengths lead outside the buffer
 */
export function* readBatch(buffer: ArrayBuffer): Generator<BatchItem> {
  const words = new Uint32Array(buffer, 0, Math.floor(buffer.byteLength / 4));
  const view = (from: number, length: number): Buffer => Buffer.from(buffer, from, length);
  const count = words[0] ?? 0;
  let at = countBytes + count * itemBytes;
  for (let index = 0; index < count; index++) {
    const word = 1 + index * itemWords;
    const value = (offset: number): number => words[word + offset] ?? 0;
    const kind = kinds[value(0)];
    if (kind === undefined) throw new RangeError('the batch names an unknown operation');
    const dataBytes = value(7);
    const gcm = isGcm(kind);
    const nonceAt = at;
    const aadAt = nonceAt + (gcm ? nonceBytes : 0);
    const dataAt = aadAt + value(6);
    const secondNonceAt = dataAt + (kind === 'random' ? 0 : dataBytes);
    const secondAadAt = secondNonceAt + (kind === 'reencrypt' ? nonceBytes : 0);
    const outputAt = secondAadAt + value(8);
    const capacity = outputBytes(kind, dataBytes);
    at = outputAt + capacity;
    yield {
      kind,
      generation: value(1),
      handle: view((word + 2) * 4, 8),
      secondHandle: view((word + 4) * 4, 8),
      nonce: view(nonceAt, aadAt - nonceAt),
      aad: view(aadAt, dataAt - aadAt),
      data: view(dataAt, secondNonceAt - dataAt),
      secondNonce: view(secondNonceAt, secondAadAt - secondNonceAt),
      secondAad: view(secondAadAt, outputAt - secondAadAt),
      zeroPrefixBytes: value(11),
      output: view(outputAt, capacity),
      settle(status, detail) {
        words[word + 9] = statusNumbers[status];
        words[word + 10] = detail;
      },
    };
  }
}

export interface ItemResult {
  readonly status: ItemStatus;
  /** A copy of the output when `ok`, else empty. */
  readonly output: Uint8Array;
  /** The PKCS#11 return value of a failure, 0 for none. */
  readonly returnValue: number;
}

const nothing = new Uint8Array(0);

/** Reads the outcomes of a batch that came back, in the order of its operations. */
export function readResults(operations: readonly Operation[], buffer: ArrayBuffer): ItemResult[] {
  const words = new Uint32Array(buffer, 0, Math.floor(buffer.byteLength / 4));
  const bytes = new Uint8Array(buffer);
  let at = countBytes + operations.length * itemBytes;
  return operations.map((operation, index) => {
    const word = 1 + index * itemWords;
    const status = statuses[words[word + 9] ?? statusNumbers.device] ?? 'device';
    const detail = words[word + 10] ?? 0;
    const from = at + operation.payload.length;
    const capacity = outputBytes(operation.kind, operation.dataBytes);
    at = from + capacity;
    if (status !== 'ok') return { status, output: nothing, returnValue: detail };
    if (detail > capacity) return { status: 'device', output: nothing, returnValue: 0 };
    const output = secretBytes(detail);
    output.set(bytes.subarray(from, from + detail));
    return { status, output, returnValue: 0 };
  });
}
