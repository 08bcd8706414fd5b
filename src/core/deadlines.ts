import { createLinkedList, type Linked } from './linked-list.ts';

/** A time limit under way. */
export interface Deadline extends Linked<Deadline> {
  /** On the scale of `performance.now()`. */
  readonly at: number;
  readonly onPassed: () => void;
}

/** Time limits by the thousand, almost none of which ever passes: one timer looks after all of them. */
export interface Deadlines {
  /** Calls `onPassed` once `ms` are over, up to `lookEveryMs` later, unless it is ended before. */
  start(ms: number, onPassed: () => void): Deadline;
  end(deadline: Deadline): void;
}

export const lookEveryMs = 50;

export function createDeadlines(): Deadlines {
  const running = createLinkedList<Deadline>();
  let timer: NodeJS.Timeout | undefined;

  function look(): void {
    timer = undefined;
    const now = performance.now();
    for (const deadline of [...running].filter(({ at }) => at <= now)) {
      // One that passed before it may have ended it.
      if (!running.remove(deadline)) continue;
      deadline.onPassed();
    }
    if (running.size > 0) timer ??= later();
  }

  /** What is limited keeps the process alive, or nothing does. */
  function later(): NodeJS.Timeout {
    return setTimeout(look, lookEveryMs).unref();
  }

  return {
    start(ms, onPassed) {
      const deadline = { at: performance.now() + ms, onPassed, before: undefined, after: undefined };
      running.append(deadline);
      timer ??= later();
      return deadline;
    },
    end: running.remove,
  };
}
