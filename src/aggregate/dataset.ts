import { covers, type Principal } from '../access/caller.ts';
import type { AuditTarget } from '../audit/entry.ts';
import { toBase64 } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import { type Layout, layoutOf } from '../crypto/homomorphic/layout.ts';
import { type ParameterSet, type ParameterSetName, parameterSets } from '../crypto/homomorphic/parameters.ts';
import { uploadBytes } from '../crypto/homomorphic/upload.ts';
import type { DatasetEpochRow, DatasetRow, EpochState } from '../store/dataset-rows.ts';
import { type Definition, type Policy, shapeOf } from './definition.ts';

/** A dataset as its operations see it. */
export interface Dataset {
  readonly id: string;
  readonly namespaceId: string;
  readonly name: string;
  readonly description: string;
  readonly definition: Definition;
  readonly policy: Policy;
  readonly parameters: ParameterSet;
  /** Of every contribution, in every epoch. */
  readonly layout: Layout;
  readonly currentEpoch: number;
  /** Ed25519. */
  readonly verificationKey: Uint8Array;
  /** Milliseconds. */
  readonly createdAt: number;
}

/** @param row authenticated */
export function datasetFromRow(row: Omit<DatasetRow, 'mac'>): Dataset {
  const definition = JSON.parse(row.definition) as Definition;
  const policy = JSON.parse(row.policy) as Policy;
  const parameters = parameterSets[row.parameters as ParameterSetName];
  return {
    id: row.id,
    namespaceId: row.namespace_id,
    name: row.name,
    description: row.description,
    definition,
    policy,
    parameters,
    layout: layoutOf(shapeOf(definition, policy), parameters),
    currentEpoch: row.current_epoch,
    verificationKey: row.verification_key,
    createdAt: row.created_at,
  };
}

/** What is told of a dataset: plain JSON. */
export interface DatasetView
  extends Pick<
    Dataset,
    'id' | 'name' | 'description' | 'definition' | 'policy' | 'currentEpoch' | 'createdAt'
  > {
  readonly parameters: ParameterSetName;
  /** In base64. */
  readonly verificationKey: string;
  readonly contributionBytes: number;
}

export function datasetView(dataset: Dataset): DatasetView {
  const { id, name, description, definition, policy, parameters, currentEpoch, createdAt } = dataset;
  return {
    ...{ id, name, description, definition, policy, currentEpoch, createdAt },
    parameters: parameters.name,
    verificationKey: toBase64(dataset.verificationKey),
    contributionBytes: uploadBytes(parameters, dataset.layout),
  };
}

/** A pair of encryption keys and what was contributed under it. Times in milliseconds. */
export interface EpochView {
  readonly id: string;
  readonly epoch: number;
  readonly state: EpochState;
  readonly openedAt: number;
  readonly closedAt?: number;
  readonly retainedUntil?: number;
  readonly contributions: number;
}

export function epochView(row: Omit<DatasetEpochRow, 'mac'>): EpochView {
  return {
    id: row.id,
    epoch: row.ordinal,
    state: row.state,
    openedAt: row.opened_at,
    ...(row.closed_at !== null && { closedAt: row.closed_at }),
    ...(row.retained_until !== null && { retainedUntil: row.retained_until }),
    contributions: row.contributions,
  };
}

export function mayContribute(principal: Principal, { policy }: Dataset): boolean {
  return principal.scopes.has('datasets:contribute') && isNamed(principal, policy.contributors);
}

export function mayQuery(principal: Principal, { policy }: Dataset): boolean {
  return principal.scopes.has('datasets:query') && isNamed(principal, policy.analysts);
}

function isNamed({ id, name }: Principal, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => pattern === id || covers(pattern, name));
}

/** One answer for a dataset that is not there and one that is none of the caller's. */
export function datasetNotFound(): ServiceError {
  return new ServiceError('dataset/not-found', 'There is no such dataset.');
}

export function epochNotFound(): ServiceError {
  return new ServiceError('dataset/epoch-not-found', 'The dataset has no such epoch.');
}

export function datasetTarget({ id, name }: Pick<Dataset, 'id' | 'name'>, epoch?: number): AuditTarget {
  return { kind: 'dataset', id, name, ...(epoch !== undefined && { version: epoch }) };
}
