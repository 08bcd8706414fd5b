import type { z } from 'zod';

// What the types of operations are made with.

/** Members that are bytes here and base64 on the wire, wherever the schema has a string. */
type ByteMember =
  | ('plaintext' | 'ciphertext' | 'wrapped' | 'bytes' | 'message' | 'mac' | 'wrappedKey' | 'checkValue')
  | ('oaepLabel' | 'digest' | 'mu' | 'context' | 'signature' | 'payload')
  | (
      | 'publicKey'
      | 'peerPublicKey'
      | 'sharedSecret'
      | 'confirmation'
      | 'expectedConfirmation'
      | 'derived'
      | 'info'
    )
  | ('enc' | 'aad' | 'psk' | 'pskId' | 'recipientPublicKey' | 'senderPublicKey')
  | ('exporterContext' | 'exported' | 'verificationKey');
/** Numbers that a path or a query spells out. */
type NumberMember = 'limit' | 'version' | 'epoch' | 'ordinal';

type Swap<Value, To> = Value extends string ? To : Value;

/** What goes over the wire as a caller has it. */
type Clear<Wire, Bytes extends Uint8Array> = Wire extends readonly (infer Item)[]
  ? Clear<Item, Bytes>[]
  : Wire extends object
    ? {
        [Member in keyof Wire]: Member extends ByteMember
          ? Swap<Wire[Member], Bytes>
          : Member extends NumberMember
            ? Swap<Wire[Member], number>
            : Clear<Wire[Member], Bytes>;
      }
    : Wire;

export type Given<Schema extends z.ZodType> = Clear<z.input<Schema>, Uint8Array>;
export type Answered<Schema extends z.ZodType> = Clear<z.output<Schema>, Uint8Array<ArrayBuffer>>;

/** Settings of one call. */
export interface CallOptions {
  /** Ends the call, which rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** For all attempts together; default the client's. */
  readonly timeoutMs?: number | undefined;
  /** Of what makes something (`createKey`, `rotateKey`, `importKey` …); one is made when it is absent. */
  readonly idempotencyKey?: string | undefined;
}

export interface ListOptions extends CallOptions {
  /** Ends the list after so many. */
  readonly maxItems?: number | undefined;
}

export type Operation<Input, Output> = (input: Input, options?: CallOptions) => Promise<Output>;

type Page<Item> = { items: Item[]; nextCursor?: string | undefined };

export type ItemOf<PageAnswer> = PageAnswer extends Page<infer Item> ? Item : never;

/** One page by a call; all of them, one after the other as they are taken, by `all`. */
export interface List<Input, PageAnswer> {
  (...args: ListArguments<Input, CallOptions>): Promise<PageAnswer>;
  all(
    ...args: ListArguments<Omit<Input, 'cursor'>, ListOptions>
  ): AsyncGenerator<ItemOf<PageAnswer>, void, void>;
}

type ListArguments<Input, Options> =
  Partial<Input> extends Input ? [input?: Input, options?: Options] : [input: Input, options?: Options];
