import { createLru } from './lru.ts';

/**
 * A bounded cache with single flight: however many ask for a missing entry, it is loaded once. The least
 * recently used entry goes first. A failed load is not kept. An entry deleted while it is being loaded is
 * not kept either, and whoever asks afterwards loads it anew.
 */
export interface Cache<Value> {
  /** The entry if it is there: no waiting. */
  peek(key: string): Value | undefined;
  get(key: string, load: () => Promise<Value>): Promise<Value>;
  delete(key: string): void;
  clear(): void;
  entries(): Iterable<[string, Value]>;
  readonly size: number;
}

/** @param limit entries, at least 1 */
export function createCache<Value>(limit: number): Cache<Value> {
  const entries = createLru<Value>();
  const loading = new Map<string, Promise<Value>>();

  function keep(key: string, value: Value): void {
    entries.set(key, value);
    if (entries.size <= limit) return;
    const oldest = entries.oldest();
    if (oldest !== undefined) entries.delete(oldest);
  }

  return {
    peek: entries.use,
    get(key, load) {
      const value = entries.use(key);
      if (value !== undefined) return Promise.resolve(value);
      const pending = loading.get(key);
      if (pending) return pending;
      const started: Promise<Value> = load().then(
        (loaded) => {
          if (loading.get(key) === started) {
            loading.delete(key);
            keep(key, loaded);
          }
          return loaded;
        },
        (error: unknown) => {
          if (loading.get(key) === started) loading.delete(key);
          throw error;
        },
      );
      loading.set(key, started);
      return started;
    },
    delete(key) {
      entries.delete(key);
      loading.delete(key);
    },
    clear() {
      entries.clear();
      loading.clear();
    },
    entries: () => entries,
    get size() {
      return entries.size;
    },
  };
}
