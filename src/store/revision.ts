import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { createLru } from '../core/lru.ts';
import { type ChangeFeed, schemaSubject } from './changes.ts';

/**
 * How far this process knows the store. Whatever it keeps in memory was true when the changes were read last; what
 * rests on it is decided while that is not too long ago, and can be checked again before it is answered.
 */
export interface Revision {
  /** Grows with every change this process hears of, its own too. To be kept as a mark. */
  readonly mark: number;
  /** Whether the changes were read within the staleness allowed. For every request: one reading of the clock. */
  isFresh(): boolean;
  /**
   * Reads the changes: afterwards this process knows everything that was committed before the call.
   * @throws store/unavailable when they cannot be read in time
   */
  sync(): Promise<void>;
  /**
   * Says that this process changed something, or may have.
   * @param number of a change that has committed: it is not heard of a second time
   */
  touch(subjects: readonly string[], number?: number): void;
  /** Whether nothing of this was changed since the mark, as far as is known here. */
  untouchedSince(mark: number, subjects: Iterable<string>): boolean;
  /** Is told what to forget: everything, when no subjects are given. */
  onTouched(forget: (subjects: readonly string[] | 'everything') => void): void;
  status(): RevisionStatus;
  close(): Promise<void>;
}

export interface RevisionStatus {
  /** Since the changes were read last. */
  readonly staleMilliseconds: number;
  /** Subjects heard of. */
  readonly touched: number;
  /** Times that everything had to be forgotten. */
  readonly lost: number;
}

export interface RevisionOptions {
  readonly feed: ChangeFeed;
  readonly clock: Clock;
  /** Decisions rest on nothing older. */
  readonly maxStaleMilliseconds: number;
  /** Rejects unless this code may go on with the database: asked at first, and after each migration. */
  readonly checkSchema?: () => Promise<void>;
}

const rememberedSubjects = 100_000;

export function createRevision({
  feed,
  clock,
  maxStaleMilliseconds,
  checkSchema,
}: RevisionOptions): Revision {
  const touchedAt = createLru<number>();
  const listeners: ((subjects: readonly string[] | 'everything') => void)[] = [];
  const counts = { touched: 0, lost: 0 };
  /** Changes of this process that the feed has not come to. */
  const own = new Set<number>();
  /** The last change that was read. */
  let cursor = 0;
  let mark = 0;
  /** What was touched up to here is not remembered by subject. */
  let floor = 0;
  let readAt = clock.monotonic();
  /** A migration before the feed began was not heard of. */
  let schemaChecked = checkSchema === undefined;
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  let closed = false;

  function touch(subjects: readonly string[]): void {
    if (subjects.length === 0) return;
    mark += 1;
    counts.touched += subjects.length;
    for (const subject of subjects) touchedAt.set(subject, mark);
    while (touchedAt.size > rememberedSubjects) {
      const oldest = touchedAt.oldest() ?? '';
      floor = touchedAt.get(oldest) ?? mark;
      touchedAt.delete(oldest);
    }
    for (const listener of listeners) listener(subjects);
  }

  function touchEverything(): void {
    mark += 1;
    floor = mark;
    counts.lost += 1;
    touchedAt.clear();
    // The feed may have passed them by.
    own.clear();
    for (const listener of listeners) listener('everything');
  }

  async function read(): Promise<void> {
    if (closed) throw new ServiceError('store/unavailable', 'The store is closed.');
    const since = clock.monotonic();
    const { changes, lost } = await feed.read();
    if (lost) touchEverything();
    for (const { number, subjects } of changes) {
      cursor = number;
      if (!own.delete(number)) touch(subjects);
    }
    if (lost || changes.some(({ subjects }) => subjects.includes(schemaSubject))) schemaChecked = false;
    if (!schemaChecked) await checkSchema?.();
    schemaChecked = true;
    readAt = since;
  }

  /** A read under way may be too early for who asks now: it waits for the next, with all who came meanwhile. */
  function readAgain(): Promise<void> {
    if (!running) {
      running = read().finally(() => {
        running = undefined;
      });
      return running;
    }
    next ??= running
      .catch(() => undefined)
      .then(() => {
        next = undefined;
        return readAgain();
      });
    return next;
  }

  function sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        reject(unseen());
      }, maxStaleMilliseconds);
      readAgain()
        .then(resolve, reject)
        .finally(() => clearTimeout(late));
    });
  }

  const quietly = () => void sync().catch(() => undefined);
  const polling = setInterval(quietly, Math.min(feed.pollMilliseconds, maxStaleMilliseconds / 4)).unref();
  feed.onAnnounced(quietly);

  return {
    get mark() {
      return mark;
    },
    isFresh: () => schemaChecked && clock.monotonic() - readAt <= maxStaleMilliseconds,
    sync,
    touch(subjects, number) {
      if (number !== undefined && number <= cursor) return;
      if (number !== undefined && own.size < rememberedSubjects) own.add(number);
      touch(subjects);
    },
    untouchedSince(since, subjects) {
      if (since === mark) return true;
      if (since < floor) return false;
      for (const subject of subjects) if ((touchedAt.get(subject) ?? 0) > since) return false;
      return true;
    },
    onTouched: (forget) => void listeners.push(forget),
    status: () => ({ staleMilliseconds: clock.monotonic() - readAt, ...counts }),
    async close() {
      closed = true;
      clearInterval(polling);
      await feed.close();
    },
  };
}

function unseen(): ServiceError {
  return new ServiceError('store/unavailable', 'What was changed lately cannot be read right now.', {
    retryAfterSeconds: 1,
  });
}
