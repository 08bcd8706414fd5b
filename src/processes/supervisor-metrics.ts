import { createMetrics } from '../core/metrics.ts';
import type { FamilySamples } from '../core/metrics-text.ts';

const reasons = ['ended', 'hung', 'start-failed', 'rolled', 'asked'] as const;

/** What the supervisor measures itself. */
export function createSupervisorMetrics({ wanted, running }: { wanted: number; running: () => number }) {
  const metrics = createMetrics();
  const gauge = (name: string, help: string) => metrics.gauge({ name, help }).with({});
  gauge('stathera_processes_wanted', 'Processes that should serve.').set(wanted);
  const runningNow = gauge('stathera_processes_running', 'Processes that serve.');
  const silentNow = gauge(
    'stathera_processes_silent',
    'Processes whose measurements did not come in time: their gauges are missing, their counters are older.',
  );
  const restarts = metrics.counter({
    name: 'stathera_process_restarts_total',
    help: 'Processes that ended or hung, did not come up, or were replaced in a rolling restart or as they asked.',
    labels: ['reason'],
  });
  const series = new Map(reasons.map((reason) => [reason, restarts.with({ reason })]));
  return {
    count: (reason: (typeof reasons)[number]) => series.get(reason)?.add(),
    read(silent: number): FamilySamples[] {
      runningNow.set(running());
      silentNow.set(silent);
      return metrics.read();
    },
  };
}
