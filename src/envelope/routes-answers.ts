import type { z } from 'zod';
import { toBase64, wipe } from '../core/bytes.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import { problemOf } from '../http/problem.ts';
import { invalidRequest } from '../http/violations.ts';
import { macOut } from '../macs/routes-answers.ts';
import { askedOf, signatureOut } from '../signing/routes-answers.ts';
import type { BatchItem, BatchResult } from './batch.ts';
import {
  type batchAnswer,
  batchItem,
  type dataKeysAnswer,
  type openedAnswer,
  type sealedAnswer,
} from './routes-schemas.ts';
import type { DataKey, Opened, Sealed } from './work.ts';

// Domain values ⇄ members of the wire. Secrets are wiped as soon as their text exists.

export function sealedOut({ ciphertext, keyId, keyVersion }: Sealed): z.output<typeof sealedAnswer> {
  return { ciphertext: toBase64(ciphertext), keyId, keyVersion };
}

export function openedOut({ plaintext, keyId, keyVersion }: Opened): z.output<typeof openedAnswer> {
  try {
    return { plaintext: toBase64(plaintext), keyId, keyVersion };
  } finally {
    wipe(plaintext);
  }
}

export function dataKeysOut(items: readonly DataKey[]): z.output<typeof dataKeysAnswer> {
  try {
    return {
      items: items.map(({ plaintext, wrapped, keyVersion }) => ({
        ...(plaintext && { plaintext: toBase64(plaintext) }),
        wrapped: toBase64(wrapped),
        keyVersion,
      })),
    };
  } finally {
    wipe(...items.map((item) => item.plaintext));
  }
}

export interface DecodedItem {
  readonly id: string | undefined;
  readonly item: BatchItem;
}

/** An item of a batch; one that breaks its schema becomes an item that fails. */
export function batchItemIn(value: unknown): DecodedItem {
  const parsed = batchItem.safeParse(value);
  if (!parsed.success) {
    const id = (value as { id?: unknown } | null)?.id;
    const known = typeof id === 'string' && id.length <= 64 ? id : undefined;
    return { id: known, item: { operation: 'invalid', error: invalidRequest(parsed.error, batchItem) } };
  }
  const { id, operation, ...request } = parsed.data;
  if (parsed.data.operation === 'sign' || parsed.data.operation === 'verify') return signingItem(parsed.data);
  return { id, item: { operation, request } as BatchItem };
}

type SigningItem = Extract<z.output<typeof batchItem>, { operation: 'sign' | 'verify' }>;

function signingItem({ id, operation, ...body }: SigningItem): DecodedItem {
  const { message: _, digest: __, mu: ___, ...request } = body;
  try {
    return { id, item: { operation, request: { ...request, ...askedOf(body) } } as BatchItem };
  } catch (error) {
    if (!isServiceError(error)) throw error;
    return { id, item: { operation: 'invalid', error } };
  }
}

/** Wipes the plaintexts and messages that came in. */
export function wipeItems(items: readonly DecodedItem[]): void {
  for (const { item } of items) {
    if (item.operation === 'encrypt') wipe(item.request.plaintext);
    if (item.operation === 'mac' || item.operation === 'verify-mac') wipe(item.request.message);
  }
}

type BatchOut = z.output<typeof batchAnswer>['results'][number];

export function batchResultOut(id: string | undefined, result: BatchResult, requestId: string): BatchOut {
  const place = id === undefined ? undefined : { id };
  switch (result.operation) {
    case 'encrypt':
    case 'rewrap':
      return { ...place, status: 200, ...sealedOut(result.value) };
    case 'decrypt':
      return { ...place, status: 200, ...openedOut(result.value) };
    case 'data-keys':
      return { ...place, status: 200, ...dataKeysOut(result.value) };
    case 'random':
      return { ...place, status: 200, bytes: toBase64(result.value) };
    case 'mac':
      return { ...place, status: 200, ...macOut(result.value) };
    case 'sign':
      return { ...place, status: 200, ...signatureOut(result.value) };
    case 'verify-mac':
    case 'verify':
      return { ...place, status: 200, ...result.value };
    case 'failed': {
      const { body } = problemOf(result.error, requestId);
      return { ...place, status: body.status, problem: { ...body } };
    }
  }
}

/** A result that is missing would be a fault of ours, never an empty success. */
export function missingResult(): BatchResult {
  return { operation: 'failed', error: new ServiceError('internal', 'The request failed.') };
}
