import { pack } from '../../crypto/homomorphic/packing.ts';
import { bindingBytes, bindingText, prologueBytes, uploadMagic } from '../../crypto/homomorphic/upload.ts';
import type { Client } from '../client.ts';
import { isStatheraError, StatheraError } from '../errors.ts';
import type { CallOptions } from '../types.ts';
import type { Encrypt } from './encrypting.ts';
import { type EpochManifest, verifyManifest } from './manifest.ts';
import { createTally, type Row, type Tally } from './tally.ts';

/** The operations of the service that contributing needs; a client has them. */
export type ContributeService = Pick<Client, 'getDataset' | 'getEpochKey' | 'contribute'>;

export interface ContributeOptions extends Omit<CallOptions, 'idempotencyKey'> {
  /** Name or id. */
  readonly dataset: string;
  readonly rows: Iterable<Row> | AsyncIterable<Row>;
  /**
   * The dataset's `verificationKey`, 32 bytes, from its owner. `from-service`: what the service says it is; then the
   * service, and its TLS, are trusted to give the right public key.
   */
  readonly verificationKey: Uint8Array | 'from-service';
  /** Which of this contributor's in the epoch. Default 1. */
  readonly ordinal?: number | undefined;
  /** Asked before anything is encrypted; false sends nothing. */
  readonly accept?: ((manifest: EpochManifest) => boolean | Promise<boolean>) | undefined;
  /** Told which step it is at, and in the first how many rows are added up. */
  readonly onProgress?: ((step: 'rows' | 'encrypt' | 'send', rows: number) => void) | undefined;
}

export interface Contributed {
  readonly id: string;
  readonly datasetId: string;
  readonly epoch: number;
  readonly ordinal: number;
  readonly rows: number;
  /** Values beyond the bounds, that were counted as the bound. */
  readonly clamped: number;
  /** Sent. */
  readonly bytes: number;
}

/** Rows between two calls of `onProgress`. */
const rowsBetween = 10_000;
/** Epochs that may end while it works. */
const epochsLimit = 3;

/** @param encrypt in a thread, as the place has them */
export function createContribute(encrypt: Encrypt) {
  /**
   * Adds up rows here, encrypts the sums and contributes them: what leaves is one ciphertext of numbers for every label.
   * @throws RowRefused for a row that cannot be counted; client/manifest-invalid, client/encryption-failed,
   *   contribution/exists and what else the operations throw
   */
  return async (service: ContributeService, options: ContributeOptions): Promise<Contributed> => {
    const { signal, ordinal = 1, onProgress } = options;
    let first: { readonly manifest: EpochManifest; readonly tally: Tally } | undefined;
    for (let epochs = 1; ; epochs += 1) {
      const { manifest, publicKey, contributorId } = await epochOf(service, options);
      first ??= { manifest, tally: await tallied(manifest, options) };
      const { tally } = first;
      onProgress?.('encrypt', tally.rows);
      if (!sameNumbers(manifest, first.manifest)) throw otherManifest();
      const slots = pack(first.manifest.layout, tally.valueOf);
      const request = { parameters: manifest.parameters.name, publicKey, slots };
      const upload = await uploadOf(await encrypt(request, signal), {
        ...{ manifest: manifest.text, contributorId, ordinal },
      });
      onProgress?.('send', tally.rows);
      try {
        const place = { dataset: manifest.datasetId, epoch: manifest.epoch, ordinal, upload };
        const { id, datasetId, epoch } = await service.contribute(place, callOptions(options));
        const { rows, clamped } = tally;
        return { ...{ id, datasetId, epoch, ordinal, rows, clamped }, bytes: upload.length };
      } catch (error) {
        if (!isStatheraError(error, 'dataset/epoch-closed') || epochs === epochsLimit) throw error;
      }
    }
  };
}

function callOptions({ signal, timeoutMs }: ContributeOptions): CallOptions {
  return { signal, timeoutMs };
}

/** The current epoch, as the dataset's key signed it. */
async function epochOf(service: ContributeService, options: ContributeOptions) {
  const { dataset, verificationKey, accept } = options;
  const calls = callOptions(options);
  const { manifest: text, publicKey, contributorId } = await service.getEpochKey({ dataset }, calls);
  const key =
    verificationKey === 'from-service'
      ? (await service.getDataset({ dataset }, calls)).verificationKey
      : verificationKey;
  const manifest = await verifyManifest(text, key);
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', publicKey));
  const ofThis = dataset === manifest.datasetId || dataset === manifest.datasetName;
  if (!ofThis || !sameBytes(hash, manifest.publicKeySha256)) throw otherManifest();
  if (accept && !(await accept(manifest))) {
    throw new StatheraError(
      'client/manifest-refused',
      'The caller did not accept the manifest. Nothing was sent.',
    );
  }
  return { manifest, publicKey, contributorId };
}

async function tallied(
  manifest: EpochManifest,
  { rows, signal, onProgress }: ContributeOptions,
): Promise<Tally> {
  const tally = createTally(manifest);
  for await (const row of rows) {
    signal?.throwIfAborted();
    tally.add(row);
    if (tally.rows % rowsBetween === 0) onProgress?.('rows', tally.rows);
  }
  onProgress?.('rows', tally.rows);
  return tally;
}

async function uploadOf(
  ciphertexts: readonly Uint8Array[],
  place: Parameters<typeof bindingText>[0],
): Promise<Uint8Array<ArrayBuffer>> {
  const length = ciphertexts.reduce((sum, one) => sum + one.length, prologueBytes);
  const upload = new Uint8Array(length);
  upload.set(uploadMagic);
  const binding = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(bindingText(place)));
  upload.set(new Uint8Array(binding).subarray(0, bindingBytes), uploadMagic.length);
  let at = prologueBytes;
  for (const ciphertext of ciphertexts) {
    upload.set(ciphertext, at);
    at += ciphertext.length;
  }
  return upload;
}

/** A dataset never changes: numbers that were added up for one epoch mean the same in the next. */
function sameNumbers(one: EpochManifest, other: EpochManifest): boolean {
  return one.parameters === other.parameters && JSON.stringify(one.shape) === JSON.stringify(other.shape);
}

function otherManifest(): StatheraError {
  return new StatheraError(
    'client/manifest-invalid',
    'What the service gave to encrypt with is another dataset’s, or another key. Nothing was sent.',
  );
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

export function encryptionFailed(): StatheraError {
  return new StatheraError(
    'client/encryption-failed',
    'The numbers could not be encrypted here: it takes WebAssembly with 128-bit SIMD and some 60 MB. Nothing was sent.',
  );
}
