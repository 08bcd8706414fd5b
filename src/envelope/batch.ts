import type { Caller } from '../access/caller.ts';
import { authorize, type Operation } from '../access/operations.ts';
import type { Action } from '../access/scopes.ts';
import type { ServiceError } from '../core/errors.ts';
import type { GenerateMacRequest, Mac, MacWork, VerifiedMac, VerifyMacRequest } from '../macs/macs.ts';
import type {
  Signature,
  SigningWork,
  SignRequest,
  VerifiedSignature,
  VerifyRequest,
} from '../signing/work.ts';
import { runItems } from './items.ts';
import type {
  DataKey,
  DataKeysRequest,
  DecryptRequest,
  EncryptRequest,
  Note,
  Opened,
  RewrapRequest,
  Sealed,
  Work,
} from './work.ts';

export type BatchItem =
  | { readonly operation: 'encrypt'; readonly request: EncryptRequest }
  | { readonly operation: 'decrypt'; readonly request: DecryptRequest }
  | { readonly operation: 'rewrap'; readonly request: RewrapRequest }
  | { readonly operation: 'data-keys'; readonly request: DataKeysRequest }
  | { readonly operation: 'random'; readonly request: { readonly bytes: number } }
  | { readonly operation: 'mac'; readonly request: GenerateMacRequest }
  | { readonly operation: 'verify-mac'; readonly request: VerifyMacRequest }
  | { readonly operation: 'sign'; readonly request: SignRequest }
  | { readonly operation: 'verify'; readonly request: VerifyRequest }
  /** An item that could not be understood: it is answered and recorded as refused. */
  | { readonly operation: 'invalid'; readonly error: ServiceError };

export type BatchResult =
  | { readonly operation: 'encrypt' | 'rewrap'; readonly value: Sealed }
  | { readonly operation: 'decrypt'; readonly value: Opened }
  | { readonly operation: 'data-keys'; readonly value: readonly DataKey[] }
  | { readonly operation: 'random'; readonly value: Uint8Array }
  | { readonly operation: 'mac'; readonly value: Mac }
  | { readonly operation: 'verify-mac'; readonly value: VerifiedMac }
  | { readonly operation: 'sign'; readonly value: Signature }
  | { readonly operation: 'verify'; readonly value: VerifiedSignature }
  | { readonly operation: 'failed'; readonly error: unknown };

/** Starts the items in their order, several at a time; results and record in the items' order. */
export async function runBatch({
  caller,
  items,
  work,
  operation,
}: {
  caller: Caller;
  items: readonly BatchItem[];
  work: Work & MacWork & SigningWork;
  operation: Operation;
}): Promise<BatchResult[]> {
  const results = await runItems(
    items,
    { weightOf, actionOf, perform: (item, note) => perform(item, caller, work, note) },
    operation,
  );
  return results.map((result) => ('error' in result ? { operation: 'failed', ...result } : result.value));
}

/** HSM operations that an item has under way at once. */
function weightOf(item: BatchItem): number {
  return item.operation === 'data-keys' ? item.request.count : 1;
}

function actionOf(item: BatchItem): Action {
  switch (item.operation) {
    case 'invalid':
      return 'envelope.batch';
    case 'mac':
      return 'mac.generate';
    case 'verify-mac':
      return 'mac.verify';
    case 'sign':
      return 'signing.sign';
    case 'verify':
      return 'signing.verify';
    default:
      return `envelope.${item.operation}`;
  }
}

async function perform(
  item: BatchItem,
  caller: Caller,
  work: Work & MacWork & SigningWork,
  note: Note,
): Promise<BatchResult> {
  if (item.operation === 'invalid') throw item.error;
  authorize(caller, actionOf(item));
  const { principal } = caller;
  switch (item.operation) {
    case 'encrypt':
      return { operation: 'encrypt', value: await work.encrypt(principal, item.request, note) };
    case 'rewrap':
      return { operation: 'rewrap', value: await work.rewrap(principal, item.request, note) };
    case 'decrypt':
      return { operation: 'decrypt', value: await work.decrypt(principal, item.request, note) };
    case 'data-keys':
      return { operation: 'data-keys', value: await work.dataKeys(principal, item.request, note) };
    case 'random':
      return { operation: 'random', value: await work.random(item.request.bytes) };
    case 'mac':
      return { operation: 'mac', value: await work.generateMac(principal, item.request, note) };
    case 'verify-mac':
      return { operation: 'verify-mac', value: await work.verifyMac(principal, item.request, note) };
    case 'sign':
      return { operation: 'sign', value: await work.sign(principal, item.request, note) };
    case 'verify':
      return { operation: 'verify', value: await work.verify(principal, item.request, note) };
  }
}
