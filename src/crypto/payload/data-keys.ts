import { createCache } from '../../core/cache.ts';
import type { PayloadCiphers, Secret } from './ciphers.ts';
import { deriveMessageKey, type MessageKey } from './derive.ts';
import { dataKeyId } from './format.ts';
import { createMessageSealer, type MessageSealer } from './message.ts';

/** A data key, of which only handles are left. */
export interface DataKey {
  readonly id: Uint8Array;
  readonly wrapped: Uint8Array;
  readonly secret: Secret;
  readonly message: MessageKey;
}

/** How much one data key may be used for before another is asked for. */
export interface ReuseLimits {
  /** Messages encrypted under one data key, at least 1. */
  readonly messages: number;
  /** Bytes of plaintext encrypted under one data key. */
  readonly bytes: number;
  /** How long a data key is kept, for encrypting and for decrypting. */
  readonly seconds: number;
}

/** A data key in clear, which is wiped when it is taken over, and as it was wrapped. */
export interface ClearDataKey {
  readonly plaintext: Uint8Array;
  readonly wrapped: Uint8Array;
}

/** Takes a data key over: of its bytes nothing is left. */
export async function importDataKey(
  ciphers: PayloadCiphers,
  { plaintext, wrapped }: ClearDataKey,
): Promise<DataKey> {
  try {
    const secret = await ciphers.importSecret(plaintext);
    const id = dataKeyId(wrapped);
    return { id, wrapped, secret, message: await deriveMessageKey(ciphers, secret, { id }) };
  } finally {
    plaintext.fill(0);
  }
}

/** Data keys that are used again. However many ask for one that is missing, it is asked for once. */
export interface DataKeyCache {
  /** @param issue makes a new data key. @returns what may encrypt one message more, of so many bytes */
  sealing(
    name: string,
    bytes: number,
    limits: ReuseLimits,
    issue: () => Promise<ClearDataKey>,
  ): Promise<MessageSealer>;
  /** @param unwrap opens the data key that `name` stands for */
  opening(name: string, limits: ReuseLimits, unwrap: () => Promise<ClearDataKey>): Promise<DataKey>;
  /** Forgets all. */
  clear(): void;
}

interface Sealing {
  readonly sealer: MessageSealer;
  readonly since: number;
  messages: number;
  bytes: number;
}

interface Opening {
  readonly dataKey: DataKey;
  readonly since: number;
}

/**
 * @param entries data keys kept at once, for encrypting and for decrypting each
 * @param monotonic milliseconds that never go back
 */
export function createDataKeyCache(
  ciphers: PayloadCiphers,
  { entries, monotonic }: { entries: number; monotonic: () => number },
): DataKeyCache {
  const sealing = createCache<Sealing>(entries);
  const opening = createCache<Opening>(entries);

  function isOver({ since }: { since: number }, { seconds }: ReuseLimits): boolean {
    return monotonic() - since > seconds * 1000;
  }

  function isSpent(entry: Sealing, bytes: number, limits: ReuseLimits): boolean {
    if (entry.messages === 0) return false;
    return entry.messages >= limits.messages || entry.bytes + bytes > limits.bytes || isOver(entry, limits);
  }

  return {
    async sealing(name, bytes, limits, issue) {
      for (;;) {
        const entry =
          sealing.peek(name) ??
          (await sealing.get(name, async () => {
            const dataKey = await importDataKey(ciphers, await issue());
            const sealer = createMessageSealer(ciphers, dataKey.message, dataKey.wrapped);
            const made = { sealer, since: monotonic(), messages: 0, bytes: 0 };
            forgetLater(limits, () => sealing.peek(name) === made && sealing.delete(name));
            return made;
          }));
        if (!isSpent(entry, bytes, limits)) {
          entry.messages += 1;
          entry.bytes += bytes;
          return entry.sealer;
        }
        if (sealing.peek(name) === entry) sealing.delete(name);
      }
    },

    async opening(name, limits, unwrap) {
      const kept = opening.peek(name);
      if (kept && !isOver(kept, limits)) return kept.dataKey;
      if (kept) opening.delete(name);
      const entry = await opening.get(name, async () => {
        const made = { dataKey: await importDataKey(ciphers, await unwrap()), since: monotonic() };
        forgetLater(limits, () => opening.peek(name) === made && opening.delete(name));
        return made;
      });
      return entry.dataKey;
    },

    clear() {
      sealing.clear();
      opening.clear();
    },
  };
}

/** What nobody asks for any more must not stay for ever. */
function forgetLater({ seconds }: ReuseLimits, forget: () => unknown): void {
  const timer: { unref?: () => unknown } = setTimeout(forget, seconds * 1000);
  timer.unref?.();
}

/** A name for a data key: the same for the same text and pairs, in whatever order, and for no others. */
export function dataKeyName(text: string, context: Readonly<Record<string, string>>): string {
  const names = Object.keys(context);
  const pairs =
    names.length === 0 ? '' : JSON.stringify(names.toSorted().map((name) => [name, context[name]]));
  return `${text.length}:${text}${pairs}`;
}
