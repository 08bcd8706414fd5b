import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where a demonstration tells what it does. */
export interface Told {
  step(title: string): void;
  say(text: string): void;
  check(text: string, holds: boolean): void;
}

/** Runs a demonstration in a directory of its own, which is gone at the end. The process ends with 1 unless every check holds. */
export async function runDemo(show: (directory: string, told: Told) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'stathera-demo-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));

  const print = (line: string) => void process.stdout.write(`${line}\n`);
  const counts = { steps: 0, checks: 0, failed: 0 };
  const started = performance.now();
  try {
    await show(directory, {
      step: (title) => print(`\n${(counts.steps += 1)}. ${title}`),
      say: (text) => print(`   ${text}`),
      check(text, holds) {
        counts.checks += 1;
        if (!holds) counts.failed += 1;
        print(`   ${holds ? 'ok    ' : 'FAILED'} ${text}`);
      },
    });
  } catch (error) {
    counts.failed += 1;
    print(`   FAILED ${error instanceof Error ? error.message : String(error)}`);
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  print(
    counts.failed === 0
      ? `\nall ${counts.checks} checks hold (${seconds} s)`
      : `\n${counts.failed} of ${counts.checks} checks FAILED (${seconds} s)`,
  );
  process.exitCode = counts.failed === 0 ? 0 : 1;
}
