import {
  type ColumnShape,
  type DatasetShape,
  type GroupShape,
  type Layout,
  layoutOf,
} from '../../crypto/homomorphic/layout.ts';
import {
  type ParameterSet,
  type ParameterSetName,
  parameterSets,
} from '../../crypto/homomorphic/parameters.ts';
import { fromBase64 } from '../bytes.ts';
import { StatheraError } from '../errors.ts';

/** What a dataset's owner signed about an epoch: what a contributor relies on. */
export interface EpochManifest {
  /** As it was signed. */
  readonly text: string;
  readonly datasetId: string;
  readonly datasetName: string;
  readonly epochId: string;
  readonly epoch: number;
  readonly columns: readonly ManifestColumn[];
  readonly groups: readonly GroupShape[];
  /** What was promised of the answers: statistics, minimumCohort, budget and more. */
  readonly policy: Readonly<Record<string, unknown>>;
  readonly parameters: ParameterSet;
  readonly shape: DatasetShape;
  readonly layout: Layout;
  /** SHA-256 of the public key. */
  readonly publicKeySha256: Uint8Array;
}

export interface ManifestColumn extends ColumnShape {
  /** Decimal places that a value has. */
  readonly scale: number;
  readonly unit: string;
}

interface Signed {
  readonly format: unknown;
  readonly datasetId: string;
  readonly datasetName: string;
  readonly epochId: string;
  readonly epoch: number;
  readonly parameters: ParameterSetName;
  readonly publicKeySha256: string;
  readonly definition: {
    readonly columns: readonly ManifestColumn[];
    readonly groups: readonly GroupShape[];
  };
  readonly policy: Readonly<Record<string, unknown>> & {
    readonly statistics: readonly string[];
    readonly rowsPerContribution: number;
    readonly contributions: number;
  };
}

/**
 * Verifies an epoch's manifest: a JWS (RFC 7515) by the dataset's key, with EdDSA (RFC 8037) and its own `typ`.
 * @param verificationKey Ed25519, 32 bytes
 * @throws client/manifest-invalid
 */
export async function verifyManifest(text: string, verificationKey: Uint8Array): Promise<EpochManifest> {
  const [header, payload, signature, ...more] = text.split('.');
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0)
    throw invalid();
  const key = await crypto.subtle
    .importKey('raw', new Uint8Array(verificationKey), 'Ed25519', false, ['verify'])
    .catch(() => {
      throw invalid();
    });
  const signed = new TextEncoder().encode(`${header}.${payload}`);
  const valid = await crypto.subtle.verify('Ed25519', key, fromBase64Url(signature), signed);
  const { alg, typ } = parse(header) as { alg?: unknown; typ?: unknown };
  if (!valid || alg !== 'EdDSA' || typ !== 'stathera-epoch+jws') throw invalid();
  return manifestOf(text, parse(payload) as Signed);
}

function manifestOf(text: string, signed: Signed): EpochManifest {
  const { format, definition, policy, datasetId, datasetName, epochId, epoch } = signed;
  // Of a later format it could mean something else.
  if (format !== 'stathera/dataset/epoch/v1' || !Object.hasOwn(parameterSets, signed.parameters))
    throw invalid();
  const parameters = parameterSets[signed.parameters];
  const { statistics, rowsPerContribution, contributions } = policy;
  const squares = statistics.includes('variance') || statistics.includes('standard-deviation');
  const shape = { ...definition, squares, rowsPerContribution, contributions };
  return {
    ...{ text, datasetId, datasetName, epochId, epoch, policy, parameters, shape },
    ...{ columns: definition.columns, groups: definition.groups },
    layout: layoutOf(shape, parameters),
    publicKeySha256: fromBase64(signed.publicKeySha256) ?? new Uint8Array(),
  };
}

function parse(part: string): unknown {
  return JSON.parse(new TextDecoder().decode(fromBase64Url(part)));
}

function fromBase64Url(text: string): Uint8Array<ArrayBuffer> {
  const padded = `${text.replaceAll('-', '+').replaceAll('_', '/')}${'='.repeat((4 - (text.length % 4)) % 4)}`;
  const bytes = fromBase64(padded);
  if (!bytes) throw invalid();
  return bytes;
}

function invalid(): StatheraError {
  return new StatheraError(
    'client/manifest-invalid',
    'What the service gave to encrypt with was not signed by the dataset’s key, or is of a newer form. Nothing was sent.',
  );
}
