import { createLinkedList, type Linked } from './linked-list.ts';

/** Values by key, which know the one not used for longest. */
export interface Lru<Value> extends Iterable<[string, Value]> {
  readonly size: number;
  /** The value, which counts as used now. */
  use(key: string): Value | undefined;
  /** The value, without using it. */
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
  delete(key: string): void;
  /** The key not used for longest. */
  oldest(): string | undefined;
  clear(): void;
}

class Entry<Value> implements Linked<Entry<Value>> {
  before: Entry<Value> | undefined = undefined;
  after: Entry<Value> | undefined = undefined;
  readonly key: string;
  value: Value;

  constructor(key: string, value: Value) {
    this.key = key;
    this.value = value;
  }
}

/** A use moves pointers, and nothing at all when the entry was the last one used. */
export function createLru<Value>(): Lru<Value> {
  const entries = new Map<string, Entry<Value>>();
  let byUse = createLinkedList<Entry<Value>>();

  return {
    get size() {
      return entries.size;
    },
    use(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      byUse.renew(entry);
      return entry.value;
    },
    get: (key) => entries.get(key)?.value,
    set(key, value) {
      const entry = entries.get(key) ?? new Entry(key, value);
      entry.value = value;
      if (entries.has(key)) byUse.renew(entry);
      else byUse.append(entry);
      entries.set(key, entry);
    },
    delete(key) {
      const entry = entries.get(key);
      if (entry === undefined) return;
      entries.delete(key);
      byUse.remove(entry);
    },
    oldest: () => byUse.first()?.key,
    clear() {
      entries.clear();
      byUse = createLinkedList();
    },
    *[Symbol.iterator]() {
      for (const { key, value } of byUse) yield [key, value];
    },
  };
}
