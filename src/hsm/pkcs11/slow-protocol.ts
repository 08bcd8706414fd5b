import type { KeyKind, PairKind, SecretKind } from '../hsm.ts';
import type { TokenPlace } from './modules.ts';
import type { Revocation } from './revocation.ts';

/** A key in the token: valid within one generation. */
export interface KeyHandle {
  readonly generation: number;
  /** CK_OBJECT_HANDLE, 8 bytes. */
  readonly handle: Uint8Array;
}

export type Wrapper = KeyHandle | 'root';

/** What the slow lane's thread does, one at a time, in order. */
export type SlowRequest =
  | { readonly type: 'initialize'; readonly generation: number }
  | { readonly type: 'generate'; readonly kind: SecretKind; readonly under: Wrapper }
  | {
      readonly type: 'import';
      readonly kind: SecretKind;
      /** Shared memory: no copy of it is made on the way, and whoever asks overwrites it. */
      readonly value: Uint8Array<SharedArrayBuffer>;
      readonly under: Wrapper;
    }
  | { readonly type: 'unwrap'; readonly kind: KeyKind; readonly blob: Uint8Array; readonly under: Wrapper }
  | {
      readonly type: 'rewrap';
      readonly kind: KeyKind;
      readonly blob: Uint8Array;
      readonly under: Wrapper;
      readonly to: Wrapper;
    }
  | {
      readonly type: 'transport';
      readonly kind: SecretKind;
      readonly blob: Uint8Array;
      readonly under: Wrapper;
      readonly publicKey: Uint8Array;
    }
  | { readonly type: 'receive'; readonly kind: SecretKind; readonly transported: Uint8Array }
  | { readonly type: 'destroy'; readonly keys: readonly KeyHandle[] }
  | { readonly type: 'probe' }
  | { readonly type: 'finish' };

/** For the lane of pairs, see pair-maker.ts: RSA takes seconds. */
export interface PairRequest {
  readonly type: 'generate-pair';
  readonly kind: PairKind;
  readonly under: Wrapper;
}

export interface TokenDescription {
  readonly rootId: string;
  /** CK_SLOT_ID, 8 bytes. */
  readonly slot: Uint8Array;
  readonly manufacturer: string;
  readonly model: string;
}

export type SlowAnswer =
  | { readonly outcome: 'token'; readonly token: TokenDescription }
  | { readonly outcome: 'blob'; readonly blob: Uint8Array }
  | { readonly outcome: 'pair'; readonly blob: Uint8Array; readonly publicKey: Uint8Array }
  | { readonly outcome: 'handle'; readonly handle: Uint8Array }
  | { readonly outcome: 'done' }
  | { readonly outcome: 'rejected' }
  | { readonly outcome: 'stale' }
  | { readonly outcome: 'device'; readonly returnValue: number }
  /** The token cannot be opened as it is; `detail` is public and tells what to do. */
  | { readonly outcome: 'refused'; readonly detail: string };

export type SlowSettings = TokenPlace & {
  readonly wrapMechanism: number;
  readonly softhsmConf?: string | undefined;
  readonly revocation: Revocation;
};

/** Calls travel together, and so do their answers: a message costs both threads as much as an unwrap. */
export interface SlowCall {
  readonly id: number;
  readonly request: SlowRequest;
}

export type SlowMessage =
  | {
      readonly type: 'answers';
      readonly answers: readonly { readonly id: number; readonly answer: SlowAnswer }[];
    }
  | {
      readonly type: 'event';
      readonly level: 'info' | 'warn' | 'error';
      readonly event: string;
      readonly fields: Readonly<Record<string, string | number | boolean>>;
    };
