import { printable } from '../client/problems.ts';

/** How far something is. */
export interface Progress {
  /** @param total in all; undefined when nobody knows */
  update(done: number, total: number | undefined): void;
  /** Takes the line away. */
  clear(): void;
}

/** What a progress line is written to; stderr is one. */
export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

type Unit = 'bytes' | 'files' | 'done' | 'rows';

const everyMs = 100;
/** A rate of less than this is of one moment. */
const settledMs = 500;
const barCells = 20;

/** One line that is written over itself; nothing at all where there is no terminal. */
export function createProgress(
  label: string,
  {
    terminal,
    unit = 'bytes',
    now = () => performance.now(),
  }: { terminal: Terminal | undefined; unit?: Unit; now?: () => number },
): Progress {
  if (terminal?.isTTY !== true) return { update: () => undefined, clear: () => undefined };
  const started = now();
  let shown = Number.NEGATIVE_INFINITY;
  let isShown = false;
  return {
    update(done, total) {
      if (now() - shown < everyMs) return;
      shown = now();
      isShown = true;
      const line = progressLine({ label, unit, done, total, elapsedMs: shown - started });
      // As wide as the terminal, it would break into two lines, of which one stays.
      terminal.write(`\r\u{1b}[K${line.slice(0, (terminal.columns ?? 80) - 1)}`);
    },
    clear() {
      if (isShown) terminal.write('\r\u{1b}[K');
      isShown = false;
    },
  };
}

/** What is shown: how much, of how much, how fast and how long still. */
export function progressLine({
  label,
  unit,
  done,
  total,
  elapsedMs,
}: {
  label: string;
  unit: Unit;
  done: number;
  total: number | undefined;
  elapsedMs: number;
}): string {
  const rate = elapsedMs < settledMs ? undefined : done / (elapsedMs / 1000);
  const parts = [shortened(printable(label))];
  if (total !== undefined && total > 0) {
    const part = Math.min(1, done / total);
    const filled = Math.floor(part * barCells);
    parts.push(`[${'#'.repeat(filled)}${'.'.repeat(barCells - filled)}] ${Math.floor(part * 100)} %`);
  }
  const amount = unit === 'bytes' ? formatBytes : (count: number) => `${Math.round(count)} ${unit}`;
  parts.push(amount(done));
  if (rate !== undefined) {
    parts.push(`${amount(rate)}/s`);
    if (total !== undefined && rate > 0) parts.push(`${formatSeconds((total - done) / rate)} left`);
  }
  return parts.join('  ');
}

/** The end of a long name tells more than its beginning. */
function shortened(name: string): string {
  return name.length <= 24 ? name : `…${name.slice(-23)}`;
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function formatBytes(bytes: number): string {
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `0:07`, `12:00`, `1:02:03`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const padded = (value: number) => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${padded(minutes)}:${padded(rest)}` : `${minutes}:${padded(rest)}`;
}
