import type { Clock } from '../core/clock.ts';
import { newId, serviceNamespaceId } from '../core/ids.ts';
import type { AuditEntry } from './entry.ts';
import type { AuditLimits } from './options.ts';

export interface Refusals {
  /** See AuditLog.countRefusal. Never throws, keeps a bounded number of counters. */
  count(source: string, code: AuditEntry['code']): void;
  /** Writes what was counted and stops. @returns how many refusals could not be written */
  close(): Promise<number>;
}

interface Counter {
  readonly source: string;
  readonly code: AuditEntry['code'];
  count: number;
}

const sourceCharacters = 64;

/**
 * Stands one record for many refusals of callers nobody knows, so that whoever has no credential cannot
 * fill the disk.
 */
export function createRefusals(options: {
  readonly append: (entry: AuditEntry) => Promise<void>;
  readonly clock: Clock;
  readonly limits: AuditLimits;
}): Refusals {
  const { append, clock, limits } = options;
  let counters = new Map<string, Counter>();
  const timer = setInterval(() => void flush(), limits.refusalMilliseconds).unref();

  function add(source: string, code: AuditEntry['code'], count: number): void {
    const key = `${code ?? ''} ${source}`;
    const counter = counters.get(key);
    if (counter) counter.count += count;
    // The codes are few and fixed, so `other` adds a few counters to the bound.
    else if (source === other || counters.size < limits.refusalSources) {
      counters.set(key, { source, code, count });
    } else add(other, code, count);
  }

  /** What cannot be written is counted again. */
  async function flush(): Promise<void> {
    const taken = counters;
    counters = new Map();
    await Promise.all(
      [...taken.values()].map(async (counter) => {
        try {
          await append(toEntry(counter, clock.now()));
        } catch {
          add(counter.source, counter.code, counter.count);
        }
      }),
    );
  }

  return {
    count: (source, code) => add(source.slice(0, sourceCharacters), code, 1),
    async close() {
      clearInterval(timer);
      await flush();
      return [...counters.values()].reduce((sum, { count }) => sum + count, 0);
    },
  };
}

const other = 'other';

function toEntry({ source, code, count }: Counter, time: number): AuditEntry {
  const id = newId();
  return {
    id,
    time,
    namespaceId: serviceNamespaceId,
    // It stands for many requests: it has none of its own.
    requestId: id,
    principal: { kind: 'anonymous' },
    source,
    action: 'access.refuse',
    outcome: 'refused',
    code,
    count,
  };
}
