import { createHash } from 'node:crypto';
import { fromBase64, lengthPrefixed, toBase64 } from '../../core/bytes.ts';
import { type Layout, layoutOf } from '../../crypto/homomorphic/layout.ts';
import {
  type ParameterSet,
  type ParameterSetName,
  parameterSets,
} from '../../crypto/homomorphic/parameters.ts';
import { labels } from '../../crypto/labels.ts';
import { type Definition, type Promises, shapeOf } from '../definition.ts';
import { manifestFormat, manifestType } from '../manifest.ts';
import { openStatement, signStatement } from '../signed.ts';
import { type Query, queryText } from './query.ts';

// An order to compute an answer: the query, which rows, and what the analyst has spent, signed by the dataset's key.
// With it go the manifests of its epochs, which are what contributors relied on: policy and bounds are taken from them
// and from nowhere else.

const orderType = 'stathera-order+jws';
const orderFormat = 'stathera/dataset/order/v1';

export interface Order {
  readonly queryId: string;
  readonly query: Query;
  /** By the analyst, of this dataset's budget, before. */
  readonly spentUnits: bigint;
  readonly epochs: readonly { readonly id: string; readonly contributionsDigest: Uint8Array }[];
}

/** As one process gives it to another. */
export interface SignedOrder {
  readonly namespaceId: string;
  readonly datasetId: string;
  readonly verificationKey: Uint8Array;
  /** JWS. */
  readonly order: string;
  readonly manifests: readonly string[];
}

/** What a dataset promised, as its epochs' manifests have it. */
export interface PromisedDataset {
  readonly id: string;
  readonly namespaceId: string;
  readonly definition: Definition;
  readonly policy: Promises;
  readonly parameters: ParameterSet;
  readonly layout: Layout;
}

export interface OpenedOrder extends Omit<Order, 'epochs'> {
  readonly dataset: PromisedDataset;
  readonly epochs: readonly (Order['epochs'][number] & { readonly ordinal: number })[];
  /** Of the computation: query, promises, rows. Who asks and what was spent before is no part of it. */
  readonly digest: Uint8Array;
}

/** @param seed of the dataset's key; for the caller to wipe */
export function signOrder(
  seed: Uint8Array,
  { datasetId, namespaceId }: Pick<SignedOrder, 'datasetId' | 'namespaceId'>,
  { queryId, query, spentUnits, epochs }: Order,
): string {
  const payload = {
    ...{ format: orderFormat, namespaceId, datasetId, queryId },
    ...{ query, spentUnits: String(spentUnits) },
    epochs: epochs.map(({ id, contributionsDigest }) => ({
      ...{ id, contributionsSha256: toBase64(contributionsDigest) },
    })),
  };
  return signStatement(seed, { typ: orderType, datasetId }, JSON.stringify(payload));
}

/** @returns undefined unless all of it is signed, and of this dataset, and its epochs promise the same */
export function openOrder(signed: SignedOrder): OpenedOrder | undefined {
  const { verificationKey, datasetId, namespaceId, manifests } = signed;
  const text = openStatement(verificationKey, { typ: orderType, datasetId }, signed.order);
  if (text === undefined) return undefined;
  const order = JSON.parse(text) as OrderPayload;
  if (order.format !== orderFormat || order.namespaceId !== namespaceId) return undefined;
  if (order.datasetId !== datasetId || order.epochs.length !== manifests.length) return undefined;
  const opened = manifests.map((manifest) =>
    openStatement(verificationKey, { typ: manifestType, datasetId }, manifest),
  );
  if (opened.includes(undefined)) return undefined;
  const promised = opened.map((manifest) => JSON.parse(manifest ?? '') as ManifestPayload);
  const [first] = promised;
  if (first === undefined || !promised.every((each) => promiseOf(each) === promiseOf(first)))
    return undefined;
  if (first.format !== manifestFormat || first.namespaceId !== namespaceId) return undefined;
  const epochs = order.epochs.map(({ id, contributionsSha256 }, index) => ({
    ...{ id, ordinal: promised[index]?.epoch ?? 0 },
    contributionsDigest: fromBase64(contributionsSha256) ?? new Uint8Array(0),
  }));
  const areNamed = epochs.every(({ id }, index) => promised[index]?.epochId === id);
  const ordinals = epochs.map(({ ordinal }) => ordinal);
  // Each of the query's, once, in its order.
  if (!areNamed || JSON.stringify(ordinals) !== JSON.stringify(order.query.epochs)) return undefined;
  const parameters = parameterSets[first.parameters];
  const { definition, policy } = first;
  const layout = layoutOf(shapeOf(definition, policy), parameters);
  return {
    ...{ queryId: order.queryId, query: order.query, spentUnits: BigInt(order.spentUnits), epochs },
    dataset: { id: datasetId, namespaceId, definition, policy, parameters, layout },
    digest: computationDigest(order.query, manifests, epochs),
  };
}

interface OrderPayload {
  readonly format: string;
  readonly namespaceId: string;
  readonly datasetId: string;
  readonly queryId: string;
  readonly query: Query;
  readonly spentUnits: string;
  readonly epochs: readonly { readonly id: string; readonly contributionsSha256: string }[];
}

interface ManifestPayload {
  readonly format: string;
  readonly namespaceId: string;
  readonly epochId: string;
  readonly epoch: number;
  readonly parameters: ParameterSetName;
  readonly definition: Definition;
  readonly policy: PromisedDataset['policy'];
}

/** What the epochs of one answer must have in common. */
function promiseOf({ format, namespaceId, parameters, definition, policy }: ManifestPayload): string {
  return JSON.stringify([format, namespaceId, parameters, definition, policy]);
}

function computationDigest(
  query: Query,
  manifests: readonly string[],
  epochs: readonly { readonly contributionsDigest: Uint8Array }[],
): Uint8Array {
  const rows = epochs.map(({ contributionsDigest }) => contributionsDigest);
  return createHash('sha256')
    .update(lengthPrefixed(labels.datasetComputation, queryText(query), ...manifests, ...rows))
    .digest();
}

/** A contribution of an epoch, as an order names it. */
export interface ContributionRef {
  /** 16 bytes of its id. */
  readonly contributor: Uint8Array;
  readonly ordinal: number;
  /** SHA-256 of each ciphertext's residues, one behind the other. */
  readonly digests: Uint8Array;
}

const digestBytes = 32;
const headBytes = 16 + 4;

/** Id of the contributor(16) ‖ ordinal(4) ‖ digests, for each. */
export function writeContributions(
  refs: readonly ContributionRef[],
  ciphertexts: number,
): Uint8Array<ArrayBuffer> {
  const recordBytes = headBytes + ciphertexts * digestBytes;
  const out = new Uint8Array(refs.length * recordBytes);
  const view = new DataView(out.buffer);
  for (const [index, { contributor, ordinal, digests }] of refs.entries()) {
    if (digests.length !== ciphertexts * digestBytes) throw new RangeError('a digest for each ciphertext');
    const at = index * recordBytes;
    out.set(contributor, at);
    view.setUint32(at + 16, ordinal);
    out.set(digests, at + headBytes);
  }
  return out;
}

/** @throws RangeError for another length */
export function readContributions(bytes: Uint8Array, ciphertexts: number): ContributionRef[] {
  const recordBytes = headBytes + ciphertexts * digestBytes;
  if (bytes.length % recordBytes !== 0) throw new RangeError('whole records');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / recordBytes }, (_, index) => {
    const at = index * recordBytes;
    return {
      contributor: bytes.subarray(at, at + 16),
      ordinal: view.getUint32(at + 16),
      digests: bytes.subarray(at + headBytes, at + recordBytes),
    };
  });
}
