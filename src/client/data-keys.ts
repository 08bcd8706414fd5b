import { type Cache, createCache } from '../core/cache.ts';
import type { PayloadCiphers, Secret } from '../crypto/payload/ciphers.ts';
import { deriveMessageKey, type MessageKey } from '../crypto/payload/derive.ts';
import { dataKeyId, isWrappedDataKey } from '../crypto/payload/format.ts';
import { createMessageSealer, type MessageSealer } from '../crypto/payload/message.ts';
import { wrongDataKey } from './refusals.ts';
import type { CallOptions } from './types.ts';

/** Pairs that are authenticated by the service with the data key, not encrypted; order does not matter. */
export type Context = Readonly<Record<string, string>>;

/** What local encryption asks the service for; the client has these operations. */
export interface DataKeyService {
  createDataKeys(
    input: { key: string; bytes: number; context: Context; plaintext: true },
    options: CallOptions,
  ): Promise<{
    readonly items: readonly { readonly plaintext?: Uint8Array | undefined; readonly wrapped: Uint8Array }[];
  }>;
  decrypt(
    input: { ciphertext: Uint8Array; context: Context },
    options: CallOptions,
  ): Promise<{ readonly plaintext: Uint8Array }>;
}

/** How much one data key may be used for before the service is asked for another. */
export interface ReuseLimits {
  /** Messages encrypted under one data key, at least 1. */
  readonly messages: number;
  /** Bytes of plaintext encrypted under one data key. */
  readonly bytes: number;
  /** How long a data key is kept, for encrypting and for decrypting. */
  readonly seconds: number;
  /** Data keys kept at once, for encrypting and for decrypting each. */
  readonly entries: number;
}

export const reuseDefaults: ReuseLimits = {
  messages: 1_000,
  bytes: 256 * 1024 * 1024,
  seconds: 60,
  entries: 100,
};

/** Nonces are random: NIST SP 800-38D §8.3 allows no more under one key. */
export const reuseMost: ReuseLimits = {
  messages: 2 ** 32,
  bytes: 2 ** 50,
  seconds: 86_400,
  entries: 100_000,
};

/** A data key, of which only handles are left. */
export interface DataKey {
  readonly id: Uint8Array;
  readonly wrapped: Uint8Array;
  readonly secret: Secret;
  readonly message: MessageKey;
}

interface Sealing {
  readonly dataKey: DataKey;
  readonly sealer: MessageSealer;
  readonly since: number;
  messages: number;
  bytes: number;
}

interface Opening {
  readonly dataKey: DataKey;
  readonly since: number;
}

const dataKeyBytes = 32;

/**
 * Data keys from the service, kept for a while: for encrypting by key and context, for decrypting by wrapped data
 * key and context. However many ask for one that is missing, the service is asked once.
 */
export interface DataKeys {
  /** A data key that may encrypt one message more, of so many bytes. */
  forMessage(place: Place, bytes: number, options: CallOptions): Promise<MessageSealer>;
  /** A data key that nothing was encrypted with. */
  fresh(place: Place, options: CallOptions): Promise<DataKey>;
  /** The data key that the service unwraps. @throws what the service answers */
  unwrapped(wrapped: Uint8Array, context: Context, options: CallOptions): Promise<DataKey>;
  /** Forgets all. */
  clear(): void;
}

export interface Place {
  readonly key: string;
  readonly context: Context;
}

export function createDataKeys(deps: {
  readonly service: DataKeyService;
  readonly ciphers: PayloadCiphers;
  /** False: every message gets a data key of its own, and none is kept. */
  readonly reuse: ReuseLimits | false;
  /** Milliseconds that never go back. */
  readonly monotonic: () => number;
}): DataKeys {
  const { service, ciphers, reuse, monotonic } = deps;
  const entries = reuse === false ? 1 : reuse.entries;
  const sealing = createCache<Sealing>(entries);
  const opening = createCache<Opening>(entries);

  async function taken(bytes: Uint8Array, wrapped: Uint8Array): Promise<DataKey> {
    try {
      const secret = await ciphers.importSecret(bytes);
      const id = dataKeyId(wrapped);
      return { id, wrapped, secret, message: await deriveMessageKey(ciphers, secret, { id }) };
    } finally {
      bytes.fill(0);
    }
  }

  async function issue({ key, context }: Place, options: CallOptions): Promise<DataKey> {
    const input = { key, bytes: dataKeyBytes, context, plaintext: true } as const;
    const { items } = await service.createDataKeys(input, options);
    const [item] = items;
    if (item?.plaintext?.length !== dataKeyBytes || !isWrappedDataKey(item.wrapped))
      throw wrongDataKey('createDataKeys');
    return taken(item.plaintext, item.wrapped);
  }

  async function unwrap(wrapped: Uint8Array, context: Context, options: CallOptions): Promise<DataKey> {
    const { plaintext } = await service.decrypt({ ciphertext: wrapped, context }, options);
    return taken(plaintext, wrapped);
  }

  async function newSealing(place: Place): Promise<Sealing> {
    // Shared by whoever waits for it: no one's signal ends it.
    const dataKey = await issue(place, {});
    const sealer = createMessageSealer(ciphers, dataKey.message, dataKey.wrapped);
    return { dataKey, sealer, since: monotonic(), messages: 0, bytes: 0 };
  }

  /** What nobody asks for any more must not stay for ever. */
  function forgetLater<Entry>(
    cache: Cache<Entry>,
    name: string,
    entry: Entry,
    { seconds }: ReuseLimits,
  ): void {
    const timer: { unref?: () => unknown } = setTimeout(() => {
      if (cache.peek(name) === entry) cache.delete(name);
    }, seconds * 1000);
    timer.unref?.();
  }

  function isOver({ since }: { since: number }, { seconds }: ReuseLimits): boolean {
    return monotonic() - since > seconds * 1000;
  }

  function isSpent(entry: Sealing, bytes: number, limits: ReuseLimits): boolean {
    if (entry.messages === 0) return false;
    return entry.messages >= limits.messages || entry.bytes + bytes > limits.bytes || isOver(entry, limits);
  }

  return {
    async forMessage(place, bytes, options) {
      if (reuse === false) {
        const dataKey = await issue(place, options);
        return createMessageSealer(ciphers, dataKey.message, dataKey.wrapped);
      }
      const name = nameOf(place.key, place.context);
      for (;;) {
        const entry = sealing.peek(name) ?? (await waited(sealing, name, () => newSealing(place), options));
        if (entry.messages === 0) forgetLater(sealing, name, entry, reuse);
        if (!isSpent(entry, bytes, reuse)) {
          entry.messages += 1;
          entry.bytes += bytes;
          return entry.sealer;
        }
        if (sealing.peek(name) === entry) sealing.delete(name);
      }
    },

    fresh: issue,

    async unwrapped(wrapped, context, options) {
      if (reuse === false) return unwrap(wrapped, context, options);
      const name = nameOf(String.fromCharCode(...wrapped), context);
      const kept = opening.peek(name);
      if (kept && !isOver(kept, reuse)) return kept.dataKey;
      if (kept) opening.delete(name);
      const load = async () => {
        const entry = { dataKey: await unwrap(wrapped.slice(), context, {}), since: monotonic() };
        forgetLater(opening, name, entry, reuse);
        return entry;
      };
      return (await waited(opening, name, load, options)).dataKey;
    },

    clear() {
      sealing.clear();
      opening.clear();
    },
  };
}

/** The same for the same key and pairs, in whatever order, and for no others. */
function nameOf(key: string, context: Context): string {
  const names = Object.keys(context);
  if (names.length === 0) return `${key.length}:${key}`;
  const pairs = names.toSorted().map((name) => [name, context[name]]);
  return `${key.length}:${key}${JSON.stringify(pairs)}`;
}

/** Waits for a load that others may wait for too: a signal ends this wait alone. */
async function waited<Value>(
  cache: Cache<Value>,
  name: string,
  load: () => Promise<Value>,
  { signal }: CallOptions,
): Promise<Value> {
  signal?.throwIfAborted();
  const loading = cache.get(name, load);
  if (!signal) return loading;
  const ended = Promise.withResolvers<never>();
  const end = () => ended.reject(signal.reason);
  signal.addEventListener('abort', end, { once: true });
  try {
    return await Promise.race([loading, ended.promise]);
  } finally {
    signal.removeEventListener('abort', end);
  }
}
