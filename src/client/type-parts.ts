// What the types of operations are made with.

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

/** Of operations that take no members. */
export type Nothing = Readonly<Record<string, never>>;

type ListArguments<Input, Options> =
  Partial<Input> extends Input ? [input?: Input, options?: Options] : [input: Input, options?: Options];
