import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Metrics } from '../core/metrics.ts';

const delayResolutionMs = 10;

/** Measures this process, when the metrics are read. */
export function measureProcess(metrics: Metrics): void {
  const gauge = (name: string, help: string) => metrics.gauge({ name, help }).with({});
  const delay = monitorEventLoopDelay({ resolution: delayResolutionMs });
  delay.enable();
  const delays = ([50, 99] as const).map((percentile) => ({
    percentile,
    series: gauge(
      `stathera_event_loop_delay_p${percentile}_seconds`,
      `Since the last reading: how late timers were, ${percentile}th percentile.`,
    ),
  }));
  const resident = gauge('process_resident_memory_bytes', 'Resident memory.');
  const heap = gauge('nodejs_heap_size_used_bytes', 'Heap in use.');
  const external = gauge('nodejs_external_memory_bytes', 'Memory of buffers outside the heap.');
  gauge('process_start_time_seconds', 'Start of the process since the epoch.').set(
    Date.now() / 1000 - process.uptime(),
  );
  // Only systems with /proc can tell.
  const files = openFiles() === undefined ? undefined : gauge('process_open_fds', 'Open file descriptors.');

  metrics.onCollect(() => {
    for (const { percentile, series } of delays) {
      // What is recorded is the time between two timers: their interval and how late the second was.
      const lateMs = delay.count === 0 ? 0 : delay.percentile(percentile) / 1e6 - delayResolutionMs;
      series.set(Math.max(0, lateMs) / 1000);
    }
    delay.reset();
    const memory = process.memoryUsage();
    resident.set(memory.rss);
    heap.set(memory.heapUsed);
    external.set(memory.external);
    files?.set(openFiles() ?? 0);
  });
}

function openFiles(): number | undefined {
  try {
    // The directory being read is one of them.
    return readdirSync('/proc/self/fd').length - 1;
  } catch {
    return undefined;
  }
}
