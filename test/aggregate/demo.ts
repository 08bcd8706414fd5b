// Shows answers about a million salaries that nobody sees: total, mean, deviation, histogram and means by department
// with their error bars beside the true values, the budget, a cohort that is too small, two answers that differ by one
// salary, and a second data set. Run: npm run demo:aggregate [-- --companies N --rows N]. It leaves nothing behind, and
// ends with 1 unless every check holds.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { show } from './show/show.ts';

const { values } = parseArgs({
  options: { companies: { type: 'string', default: '500' }, rows: { type: 'string', default: '2000' } },
});
const scale = { companies: Number(values.companies), rows: Number(values.rows) };
if (!(Number.isInteger(scale.companies) && scale.companies >= 20))
  throw new Error('--companies must be a whole number from 20');
if (!(Number.isInteger(scale.rows) && scale.rows >= 100))
  throw new Error('--rows must be a whole number from 100');
const directory = mkdtempSync(join(tmpdir(), 'stathera-demo-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

const print = (line: string) => void process.stdout.write(`${line}\n`);
const counts = { steps: 0, checks: 0, failed: 0 };
const started = performance.now();
try {
  await show(directory, scale, {
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
