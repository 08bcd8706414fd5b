import { vi } from 'vitest';
import type { Place } from '../../src/admission/flows.ts';
import { createLane, type LaneOptions } from '../../src/admission/lane.ts';
import { createAdmissionMetrics } from '../../src/admission/metrics.ts';
import type { Clock } from '../../src/core/clock.ts';
import type { Deadline, Deadlines } from '../../src/core/deadlines.ts';
import { createMetrics } from '../../src/core/metrics.ts';

/** A clock that the test moves, and time limits by it. */
export function manualTime() {
  let at = 0;
  const running = new Set<Deadline>();
  const clock: Clock = { now: () => at, monotonic: () => at };
  const deadlines: Deadlines = {
    start(ms, onPassed) {
      const deadline: Deadline = { at: at + ms, onPassed, before: undefined, after: undefined };
      running.add(deadline);
      return deadline;
    },
    end: (deadline) => void running.delete(deadline),
  };
  return {
    clock,
    deadlines,
    running: () => running.size,
    pass(ms: number): void {
      at += ms;
      for (const deadline of [...running])
        if (deadline.at <= at && running.delete(deadline)) deadline.onPassed();
    },
  };
}

export interface Entry {
  readonly name: string;
  state: 'inside' | 'waiting' | 'refused' | 'left';
  error: unknown;
  place: Place | undefined;
  readonly abort: (reason: Error) => void;
}

/** A lane over a manual clock, and who is in it. */
export function startLane(options: Partial<LaneOptions> = {}) {
  const time = manualTime();
  const metrics = createMetrics();
  const lane = createLane({
    ...{ slots: 4, places: 100, waitMs: 250, clock: time.clock, deadlines: time.deadlines },
    metrics: createAdmissionMetrics(metrics).lane('data'),
    ...options,
  });
  /** Names in the order they were let in. */
  const order: string[] = [];
  function enter(name: string, namespaceId = 'n', cost = 1): Entry {
    const controller = new AbortController();
    const signal = vi.fn(() => controller.signal);
    const entry: Entry = {
      ...{ name, state: 'waiting', error: undefined, place: undefined },
      abort: (reason) => controller.abort(reason),
    };
    const inside = (place: Place) => {
      order.push(name);
      entry.place = place;
      entry.state = 'inside';
    };
    const refused = (error: unknown) => {
      entry.error = error;
      entry.state = 'refused';
    };
    const applicant = {
      get signal() {
        return signal();
      },
    };
    try {
      const entered = lane.enter({ id: name, namespaceId }, cost, applicant);
      if (entered instanceof Promise) void entered.then(inside, refused);
      else inside(entered);
    } catch (error) {
      refused(error);
    }
    return entry;
  }
  function leave(entry: Entry): void {
    entry.place?.leave();
    entry.state = 'left';
  }
  return { lane, time, metrics, order, enter, leave };
}

/** Lets what was resolved be seen. */
export const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
