import type { PayloadCiphers } from '../crypto/payload/ciphers.ts';
import {
  type ClearDataKey,
  createDataKeyCache,
  type DataKey,
  dataKeyName,
  importDataKey,
  type ReuseLimits,
} from '../crypto/payload/data-keys.ts';
import { isWrappedDataKey } from '../crypto/payload/format.ts';
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
  /** Of this key and of no other. */
  decryptWithKey(
    input: { key: string; ciphertext: Uint8Array; context: Context },
    options: CallOptions,
  ): Promise<{ readonly plaintext: Uint8Array }>;
}

export interface ReuseSettings extends ReuseLimits {
  /** Data keys kept at once, for encrypting and for decrypting each. */
  readonly entries: number;
}

export const reuseDefaults: ReuseSettings = {
  messages: 1_000,
  bytes: 256 * 1024 * 1024,
  seconds: 60,
  entries: 100,
};

/** Nonces are random: NIST SP 800-38D §8.3 allows no more under one key. */
export const reuseMost: ReuseSettings = {
  messages: 2 ** 32,
  bytes: 2 ** 50,
  seconds: 86_400,
  entries: 100_000,
};

const dataKeyBytes = 32;

/** Data keys from the service, kept for a while. */
export interface DataKeys {
  /** A data key that may encrypt one message more, of so many bytes. */
  forMessage(place: Place, bytes: number, options: CallOptions): Promise<MessageSealer>;
  /** A data key that nothing was encrypted with. */
  fresh(place: Place, options: CallOptions): Promise<DataKey>;
  /** The data key that the service unwraps, by any key unless one is named. @throws what the service answers */
  unwrapped(wrapped: Uint8Array, place: OpeningPlace, options: CallOptions): Promise<DataKey>;
  /** Forgets all. */
  clear(): void;
}

export interface Place {
  readonly key: string;
  readonly context: Context;
}

interface OpeningPlace {
  readonly key?: string | undefined;
  readonly context: Context;
}

export function createDataKeys(deps: {
  readonly service: DataKeyService;
  readonly ciphers: PayloadCiphers;
  /** False: every message gets a data key of its own, and none is kept. */
  readonly reuse: ReuseSettings | false;
  readonly monotonic: () => number;
}): DataKeys {
  const { service, ciphers, reuse, monotonic } = deps;
  const cache = createDataKeyCache(ciphers, { entries: reuse === false ? 1 : reuse.entries, monotonic });

  async function issue({ key, context }: Place, options: CallOptions): Promise<ClearDataKey> {
    const input = { key, bytes: dataKeyBytes, context, plaintext: true } as const;
    const { items } = await service.createDataKeys(input, options);
    const [item] = items;
    if (item?.plaintext?.length !== dataKeyBytes || !isWrappedDataKey(item.wrapped))
      throw wrongDataKey('createDataKeys');
    return { plaintext: item.plaintext, wrapped: item.wrapped };
  }

  async function unwrap(
    wrapped: Uint8Array,
    { key, context }: OpeningPlace,
    options: CallOptions,
  ): Promise<ClearDataKey> {
    const input = { ciphertext: wrapped, context };
    const { plaintext } = await (key === undefined
      ? service.decrypt(input, options)
      : service.decryptWithKey({ key, ...input }, options));
    return { plaintext, wrapped };
  }

  return {
    async forMessage(place, bytes, options) {
      if (reuse === false) {
        const { message, wrapped } = await importDataKey(ciphers, await issue(place, options));
        return createMessageSealer(ciphers, message, wrapped);
      }
      const name = dataKeyName(place.key, place.context);
      // Others may wait for the same data key: no one's signal ends its making.
      return waited(() => cache.sealing(name, bytes, reuse, () => issue(place, {})), options);
    },

    fresh: async (place, options) => importDataKey(ciphers, await issue(place, options)),

    async unwrapped(wrapped, place, options) {
      if (reuse === false) return importDataKey(ciphers, await unwrap(wrapped, place, options));
      const { key = '', context } = place;
      const name = dataKeyName(`${key}\0${String.fromCharCode(...wrapped)}`, context);
      const kept = wrapped.slice();
      return waited(() => cache.opening(name, reuse, () => unwrap(kept, place, {})), options);
    },

    clear: cache.clear,
  };
}

/** Waits for what others may wait for too: a signal ends this wait alone. */
async function waited<Value>(work: () => Promise<Value>, { signal }: CallOptions): Promise<Value> {
  signal?.throwIfAborted();
  const working = work();
  if (!signal) return working;
  const ended = Promise.withResolvers<never>();
  const end = () => ended.reject(signal.reason);
  signal.addEventListener('abort', end, { once: true });
  try {
    return await Promise.race([working, ended.promise]);
  } finally {
    signal.removeEventListener('abort', end);
  }
}
