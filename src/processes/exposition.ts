import { type FamilySamples, metricsText } from '../core/metrics-text.ts';
import type { Child } from './child.ts';
import { createTotals } from './totals.ts';

/** The page of measurements of all processes. */
export interface Exposition {
  /** Readings asked for at the same time are one. */
  page(): Promise<string>;
  onSamples(child: Child, id: number, families: readonly FamilySamples[]): void;
  onEnded(child: Child): void;
}

export interface ExpositionOptions {
  /** Every process that may have something to say. */
  readonly children: () => readonly Child[];
  /** Those whose gauges are shown. */
  readonly serving: () => readonly Child[];
  /** The supervisor's own. @param silent processes that did not answer */
  readonly own: (silent: number) => readonly FamilySamples[];
  /** A process has so long to answer. */
  readonly withinMs: number;
}

export function createExposition({ children, serving, own, withinMs }: ExpositionOptions): Exposition {
  const totals = createTotals<Child>();
  let round = 0;
  let waiting = new Set<Child>();
  let complete: () => void = () => undefined;
  let pending: Promise<string> | undefined;

  function settle(child: Child): void {
    waiting.delete(child);
    if (waiting.size === 0) complete();
  }

  async function read(): Promise<string> {
    round += 1;
    const asked = children();
    waiting = new Set(asked);
    const answered = new Promise<void>((resolve) => {
      complete = resolve;
    });
    const late = setTimeout(() => complete(), withinMs);
    for (const child of asked) child.send({ type: 'read', id: round });
    if (asked.length > 0) await answered;
    clearTimeout(late);
    const heard = serving().filter((child) => asked.includes(child) && !waiting.has(child));
    const current = new Map(heard.map((child) => [child.number, child]));
    const silent = waiting.size;
    waiting = new Set();
    return metricsText([...totals.families(current), ...own(silent)]);
  }

  return {
    page() {
      pending ??= read().finally(() => {
        pending = undefined;
      });
      return pending;
    },
    onSamples(child, id, families) {
      totals.update(child, families);
      if (id === round) settle(child);
    },
    onEnded(child) {
      totals.retire(child);
      settle(child);
    },
  };
}
