import { writeFileSync } from 'node:fs';

/**
 * Keeps this process's memory to itself: no core dump of it or of its children holds any of it, and no signal opens
 * the inspector, through which everything could be read (node's `--disable-sigusr1` does so from the first moment).
 * @returns false where core dumps cannot be emptied: not Linux, or no /proc
 */
export function keepMemory(): boolean {
  if (process.listenerCount('SIGUSR1', ignore) === 0) process.on('SIGUSR1', ignore);
  try {
    // The kinds of memory that a core dump holds: none (core(5), "Controlling which mappings are written").
    writeFileSync('/proc/self/coredump_filter', '0', { flag: 'r+' });
    return true;
  } catch {
    return false;
  }
}

function ignore(): void {
  // A listener takes the place of node's own, which starts the inspector.
}
