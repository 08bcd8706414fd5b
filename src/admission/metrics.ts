import type { Counter, Histogram, Metrics } from '../core/metrics.ts';
import { type RefusalReason, refusalReasons } from './refusals.ts';

export interface LaneMetrics {
  /** Seconds before the work, of all that were let in. */
  readonly waited: Histogram;
  readonly refused: Readonly<Record<RefusalReason, Counter>>;
}

const buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** @param lanes what `status` tells of each, asked for when the metrics are read */
export function createAdmissionMetrics(metrics: Metrics) {
  const inside = metrics.gauge({
    name: 'stathera_admission_inside',
    help: 'Requests that hold a slot.',
    labels: ['lane'],
  });
  const waiting = metrics.gauge({
    name: 'stathera_admission_waiting',
    help: 'Requests that wait for a slot.',
    labels: ['lane'],
  });
  const waited = metrics.histogram({
    name: 'stathera_admission_wait_seconds',
    help: 'What requests waited for their slot.',
    labels: ['lane'],
    buckets,
  });
  const refused = metrics.counter({
    name: 'stathera_admission_refused_total',
    help: 'Requests refused before their work.',
    labels: ['lane', 'reason'],
  });
  return {
    lane(lane: string): LaneMetrics {
      const counters = refusalReasons.map((reason) => [reason, refused.with({ lane, reason })]);
      return {
        waited: waited.with({ lane }),
        refused: Object.fromEntries(counters) as Record<RefusalReason, Counter>,
      };
    },
    /** Reads a lane whenever the metrics are read. */
    watch(lane: string, status: () => { readonly inside: number; readonly waiting: number }): void {
      const [atWork, queued] = [inside.with({ lane }), waiting.with({ lane })];
      metrics.onCollect(() => {
        atWork.set(status().inside);
        queued.set(status().waiting);
      });
    },
  };
}
