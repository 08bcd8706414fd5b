import { setPriority } from 'node:os';

/**
 * Lets the calling thread give way to the others of this process when the cores are busy. Linux alone has a priority for
 * each thread (setpriority(2), NOTES): elsewhere it would be the process's, so nothing is changed.
 * @param nice 1–19, the higher the further behind
 */
export function giveWay(nice: number): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(nice);
  } catch {
    // Not permitted here: it runs as the others do.
  }
}
