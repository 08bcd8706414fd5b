import { readFileSync } from 'node:fs';

/** Files that the service has open besides its connections: 40, and room for segments of the log and the HSM's. */
const ownFiles = 100;

/** At most `wanted` connections, and so few that a flood of them leaves the log, the database and the HSM their files. */
export function connectionsWithin(wanted: number): number {
  const limit = Number(/^Max open files +(\d+)/m.exec(limits())?.[1] ?? Number.POSITIVE_INFINITY);
  return Math.max(1, Math.min(wanted, limit - ownFiles));
}

/** Of this process; none where there is no /proc. */
function limits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return '';
  }
}
