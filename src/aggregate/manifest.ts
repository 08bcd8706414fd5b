import { toBase64, utf8, wipe } from '../core/bytes.ts';
import { ed25519 } from '../crypto/signatures/ed25519.ts';
import { inputOf } from '../crypto/signatures/schemes.ts';
import type { Dataset } from './dataset.ts';

// What a contributor relies on before it encrypts anything: that this public key is of this dataset's epoch, what its
// numbers mean, how they are laid out, and what was promised of the answers. A JWS (RFC 7515) by the dataset's own key,
// EdDSA (RFC 8037); `typ` keeps it apart from everything else that is signed so.

const manifestType = 'stathera-epoch+jws';
const manifestFormat = 'stathera/dataset/epoch/v1';

/** What of an epoch is signed, as JSON. */
export interface EpochOfManifest {
  readonly id: string;
  readonly ordinal: number;
  readonly openedAt: number;
  /** SHA-256. */
  readonly publicKeyHash: Uint8Array;
}

/** @param seed of the dataset's Ed25519 key, which is wiped here */
export function signManifest(
  seed: Uint8Array,
  dataset: Omit<Dataset, 'layout' | 'currentEpoch'>,
  epoch: EpochOfManifest,
): string {
  const header = JSON.stringify({ alg: 'EdDSA', kid: dataset.id, typ: manifestType });
  const signed = `${base64url(utf8(header))}.${base64url(utf8(manifestText(dataset, epoch)))}`;
  try {
    const input = inputOf(ed25519, { form: 'message', bytes: utf8(signed) });
    return `${signed}.${base64url(ed25519.sign(seed, input))}`;
  } finally {
    wipe(seed);
  }
}

function manifestText(
  { id, namespaceId, name, definition, policy, parameters }: Omit<Dataset, 'layout' | 'currentEpoch'>,
  epoch: EpochOfManifest,
): string {
  const { contributors: _, analysts: _a, ...promised } = policy;
  return JSON.stringify({
    format: manifestFormat,
    namespaceId,
    datasetId: id,
    datasetName: name,
    epochId: epoch.id,
    epoch: epoch.ordinal,
    openedAt: new Date(epoch.openedAt).toISOString(),
    parameters: parameters.name,
    publicKeySha256: toBase64(epoch.publicKeyHash),
    definition,
    policy: promised,
  });
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}
