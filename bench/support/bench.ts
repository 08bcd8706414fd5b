// What every bench is made of: its options, its temporary things, its progress and its report.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Report, report } from './report.ts';

export interface Bench {
  /** Asked for the sizes that take minutes. */
  readonly full: boolean;
  /** An empty directory that goes with the bench. */
  directory(): string;
  /** Runs when the bench ends, however it ends; the last one first. Must not wait. */
  atEnd(cleanUp: () => void): void;
  /** One line on stderr: what is being done. */
  progress(text: string): void;
}

/**
 * Runs one bench, prints what it found for people, and one line of JSON last.
 * Options of every bench: `--full`; `--directory DIR`, where its data goes (a real disk, not a tmpfs).
 */
export async function bench(name: string, work: (bench: Bench) => Promise<Report>): Promise<void> {
  const { values } = parseArgs({ options: { full: { type: 'boolean' }, directory: { type: 'string' } } });
  const cleanUps: (() => void)[] = [];
  const atEnd = (cleanUp: () => void) => void cleanUps.push(cleanUp);
  process.once('exit', () => {
    for (const cleanUp of cleanUps.toReversed()) cleanUp();
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  const found = await work({
    full: values.full ?? false,
    atEnd,
    directory() {
      const directory = mkdtempSync(join(values.directory ?? tmpdir(), 'stathera-bench-'));
      atEnd(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));
      return directory;
    },
    progress: (text) => void process.stderr.write(`    ${text}\n`),
  });
  process.stdout.write(report(found));
  process.stdout.write(`${JSON.stringify({ bench: name, ...found })}\n`);
  // Children still run, on purpose: what is measured must not be torn down in between.
  process.exit();
}
