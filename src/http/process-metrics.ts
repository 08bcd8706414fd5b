import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Metrics } from '../core/metrics.ts';

/** Measures this process, when the metrics are read. */
export function measureProcess(metrics: Metrics): void {
  const gauge = (name: string, help: string) => metrics.gauge({ name, help }).with({});
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const delayP99 = gauge(
    'stathera_event_loop_delay_p99_seconds',
    'Since the last reading: late timers, 99th percentile.',
  );
  const resident = gauge('process_resident_memory_bytes', 'Resident memory.');
  const heap = gauge('nodejs_heap_size_used_bytes', 'Heap in use.');
  const external = gauge('nodejs_external_memory_bytes', 'Memory of buffers outside the heap.');
  gauge('process_start_time_seconds', 'Start of the process since the epoch.').set(
    Date.now() / 1000 - process.uptime(),
  );
  // Only systems with /proc can tell.
  const files = openFiles() === undefined ? undefined : gauge('process_open_fds', 'Open file descriptors.');

  metrics.onCollect(() => {
    delayP99.set(delay.count === 0 ? 0 : delay.percentile(99) / 1e9);
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
