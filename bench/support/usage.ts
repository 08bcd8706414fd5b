// What another process uses of the machine, from /proc. Systems without it: nothing is told.
import { readdirSync, readFileSync } from 'node:fs';

interface CpuTime {
  readonly allMicros: number;
  readonly mainMicros: number;
}

/** CPU time of a process since its start, threads that ended not counted; undefined without /proc. */
function cpuTime(pid: number): CpuTime | undefined {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    // Nanoseconds on a CPU; `stat` beside it counts ticks of 10 ms, too coarse for a round.
    const micros = (thread: string) =>
      Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1000;
    const allMicros = threads.reduce((sum, thread) => sum + micros(thread), 0);
    return { allMicros, mainMicros: micros(String(pid)) };
  } catch {
    return undefined;
  }
}

function cpuTimeOf(pids: number | readonly number[]): CpuTime | undefined {
  if (typeof pids === 'number') return cpuTime(pids);
  const times = pids.map(cpuTime);
  const sum = { allMicros: 0, mainMicros: 0 };
  for (const time of times) {
    if (time === undefined) return undefined;
    sum.allMicros += time.allMicros;
    sum.mainMicros += time.mainMicros;
  }
  return sum;
}

/** What `work` cost a process, or several together, for each of its operations. */
export async function costOf<T extends { readonly operations: number }>(
  pids: number | readonly number[],
  work: () => Promise<T>,
): Promise<T & { readonly cpuMicros?: number; readonly mainMicros?: number }> {
  const before = cpuTimeOf(pids);
  const result = await work();
  const after = cpuTimeOf(pids);
  if (before === undefined || after === undefined) return result;
  return {
    ...result,
    cpuMicros: (after.allMicros - before.allMicros) / result.operations,
    mainMicros: (after.mainMicros - before.mainMicros) / result.operations,
  };
}

/** Resident memory of a process in MiB, now and at its highest; undefined without /proc. */
export function memory(pid: number): { readonly residentMiB: number; readonly peakMiB: number } | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const mebibytes = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024;
    return { residentMiB: mebibytes('VmRSS'), peakMiB: mebibytes('VmHWM') };
  } catch {
    return undefined;
  }
}
