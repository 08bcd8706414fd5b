import { createLru } from '../../core/lru.ts';
import type { KeyRef } from '../hsm.ts';
import type { KeyHandle } from './slow-protocol.ts';

/** A key in the token and how many operations hold it. */
export interface HeldKey extends KeyHandle {
  readonly keyId: string;
  references: number;
  /** Out of the cache: its handle goes when the last operation lets go. */
  evicted: boolean;
  onFreed: (() => void)[];
}

export interface HandleCache {
  /** The key if it is cached, held once more. */
  tryHold(key: KeyRef): HeldKey | undefined;
  /** The key, unwrapped if need be (one unwrap however many ask), held once more. */
  hold(key: KeyRef): Promise<HeldKey>;
  /** Lets go of a key. */
  release(held: HeldKey): void;
  /** Takes a key out; resolves when no operation holds it any more. */
  evict(keyId: string): Promise<void>;
  /** Takes out this very handle, if it is the cached one: the token does not know it. */
  forget(held: HeldKey): void;
  /** Forgets everything without destroying: the token has forgotten, too. */
  clear(): void;
  cached(): number;
  misses(): number;
}

/** One unwrap and how many wait for it. */
interface Miss {
  waiters: number;
  unwrapped: Promise<HeldKey> | undefined;
}

/**
 * A bounded LRU of unwrapped keys, by `KeyRef.id`. An entry that falls out is destroyed in the token once
 * no operation holds it, so a handle number is never used after its object is gone.
 * @param unwrap brings a key into the token
 * @param destroy removes one from it; must not throw
 */
export function createHandleCache(
  limit: number,
  unwrap: (key: KeyRef) => Promise<KeyHandle>,
  destroy: (key: KeyHandle) => void,
): HandleCache {
  const entries = createLru<HeldKey>();
  const pending = new Map<string, Miss>();
  /** Evicted and still held. */
  const draining = new Set<HeldKey>();
  let epoch = 0;
  let misses = 0;

  function remove(held: HeldKey): void {
    if (entries.get(held.keyId) === held) entries.delete(held.keyId);
    if (held.evicted) return;
    held.evicted = true;
    if (held.references > 0) draining.add(held);
    else destroy(held);
  }

  /** @param references one for each who waits: the entry cannot go before their turn comes */
  function insert(key: KeyRef, { generation, handle }: KeyHandle, references: number): HeldKey {
    const held: HeldKey = { keyId: key.id, generation, handle, references, evicted: false, onFreed: [] };
    entries.set(key.id, held);
    for (const [, oldest] of entries) {
      if (entries.size <= limit) break;
      remove(oldest);
    }
    return held;
  }

  async function fetch(key: KeyRef, miss: Miss): Promise<HeldKey> {
    const startedIn = epoch;
    misses += 1;
    try {
      const unwrapped = await unwrap(key);
      if (startedIn !== epoch) throw new Error('the token was re-initialized');
      return insert(key, unwrapped, miss.waiters);
    } finally {
      if (startedIn === epoch) pending.delete(key.id);
    }
  }

  function tryHold(key: KeyRef): HeldKey | undefined {
    const held = entries.use(key.id);
    if (held === undefined) return undefined;
    held.references += 1;
    return held;
  }

  function hold(key: KeyRef): Promise<HeldKey> {
    const cached = tryHold(key);
    if (cached !== undefined) return Promise.resolve(cached);
    let miss = pending.get(key.id);
    if (miss === undefined) {
      miss = { waiters: 0, unwrapped: undefined };
      pending.set(key.id, miss);
    }
    miss.waiters += 1;
    miss.unwrapped ??= fetch(key, miss);
    return miss.unwrapped;
  }

  function release(held: HeldKey): void {
    held.references -= 1;
    if (held.references > 0 || !held.evicted) return;
    if (draining.delete(held)) destroy(held);
    for (const resolve of held.onFreed.splice(0)) resolve();
  }

  function freed(held: HeldKey): Promise<void> {
    return new Promise((resolve) => {
      held.onFreed.push(resolve);
    });
  }

  return {
    tryHold,
    hold,
    release,
    async evict(keyId) {
      const miss = pending.get(keyId);
      if (miss?.unwrapped !== undefined) await Promise.allSettled([miss.unwrapped]);
      const cached = entries.get(keyId);
      if (cached !== undefined) remove(cached);
      const held = [...draining].filter((entry) => entry.keyId === keyId);
      await Promise.all(held.map(freed));
    },
    forget(held) {
      if (entries.get(held.keyId) !== held) return;
      entries.delete(held.keyId);
      // Evicted but not draining: there is no object to destroy.
      held.evicted = true;
    },
    clear() {
      epoch += 1;
      for (const [, held] of entries) held.evicted = true;
      entries.clear();
      pending.clear();
      draining.clear();
    },
    cached: () => entries.size,
    misses: () => misses,
  };
}
