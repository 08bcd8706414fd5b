import { toBase64, wipe } from '../core/bytes.ts';
import type { Dataset } from './dataset.ts';
import { signStatement } from './signed.ts';

// What a contributor relies on before it encrypts anything: that this public key is of this dataset's epoch, what its
// numbers mean, how they are laid out, and what was promised of the answers. A JWS (RFC 7515) by the dataset's own key,
// EdDSA (RFC 8037); `typ` keeps it apart from everything else that is signed so.

export const manifestType = 'stathera-epoch+jws';
export const manifestFormat = 'stathera/dataset/epoch/v1';

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
  try {
    const statement = { typ: manifestType, datasetId: dataset.id };
    return signStatement(seed, statement, manifestText(dataset, epoch));
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
