import { createHash } from 'node:crypto';
import { type ParameterSet, parameterSets } from '../../src/crypto/homomorphic/parameters.ts';
import { type Bgv, openBgv } from '../../src/crypto/homomorphic/seal.ts';
import { bindingText, uploadMagic } from '../../src/crypto/homomorphic/upload.ts';
import { freshName } from '../access/support.ts';
import type { Answer, TestService } from '../support/service.ts';

export const set: ParameterSet = parameterSets['bgv-4096-101'];

let bgv: Promise<Bgv> | undefined;
/** SEAL, once a test file. */
export function seal(): Promise<Bgv> {
  bgv ??= openBgv(set);
  return bgv;
}

/** What a dataset is created with, but its name. */
export const salaries = {
  definition: {
    columns: [{ name: 'salary', lower: 0, upper: 50_000_000, scale: 2, unit: 'EUR' }],
    groups: [{ name: 'department', labels: ['sales', 'engineering', 'legal'] }],
  },
  policy: {
    statistics: ['count', 'sum', 'mean', 'variance', 'group-by'],
    rowsPerContribution: 2_000,
    contributions: 500,
    budget: { epsilon: 1 },
    contributors: ['*'],
    analysts: ['*'],
  },
} as const;

/** A dataset made with the bootstrap token. @returns its name */
export async function makeDataset(service: TestService, change: object = {}): Promise<string> {
  const name = freshName('dataset');
  const answer = await service.call('POST', '/v1/datasets', { name, ...salaries, ...change });
  if (answer.status !== 201) throw new Error(`expected 201: ${answer.status} ${answer.text}`);
  return name;
}

export interface EpochKey {
  readonly manifest: string;
  readonly publicKey: Uint8Array;
  readonly contributorId: string;
}

export async function epochKey(
  service: TestService,
  dataset: string,
  token = service.token,
): Promise<EpochKey> {
  const { body, status, text } = await service.call('GET', `/v1/datasets/${dataset}/epoch-key`, undefined, {
    token,
  });
  if (status !== 200) throw new Error(text);
  const { manifest, publicKey, contributorId } = body as Record<string, string>;
  return {
    manifest: manifest!,
    publicKey: Buffer.from(publicKey!, 'base64'),
    contributorId: contributorId!,
  };
}

/** The beginning of an upload, and ciphertexts. */
export function uploadOf(
  { manifest, contributorId }: Pick<EpochKey, 'manifest' | 'contributorId'>,
  ordinal: number,
  ciphertexts: readonly Uint8Array[],
): Buffer {
  const binding = createHash('sha256').update(bindingText({ manifest, contributorId, ordinal })).digest();
  return Buffer.concat([uploadMagic, binding, ...ciphertexts]);
}

/** An upload of numbers that are all the same. */
export async function uploadFor(
  key: EpochKey,
  {
    ciphertexts = 1,
    value = 1n,
    ordinal = 1,
  }: { ciphertexts?: number; value?: bigint; ordinal?: number } = {},
): Promise<Buffer> {
  const encryptor = (await seal()).encryptor(key.publicKey);
  const slots = new BigInt64Array(set.degree).fill(value);
  const made = Array.from({ length: ciphertexts }, () => encryptor.encrypt(slots));
  encryptor.close();
  return uploadOf(key, ordinal, made);
}

export interface SendOptions {
  readonly token?: string | null;
  readonly epoch?: number;
  readonly ordinal?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends an upload as it is. */
export function send(
  service: TestService,
  dataset: string,
  upload: Uint8Array,
  { token = service.token, epoch = 1, ordinal = 1, headers = {} }: SendOptions = {},
): Promise<Answer> {
  const path = `/v1/datasets/${dataset}/epochs/${epoch}/contributions/${ordinal}`;
  return service.call('POST', path, upload, { token, headers });
}
