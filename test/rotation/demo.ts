// Shows that a rotation ends: a key that rotates every 2 s, 10,000 rows each in SQLite and PostgreSQL, rewrapped to the
// last one, the old versions retired and destroyed, every row still open, and the audit log.
// Run: npm run demo:rotation [-- --rows N]. It leaves nothing behind, and ends with 1 unless every check holds.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { removeServer, removeServerNow } from '../cli/database/support.ts';
import { show } from './show.ts';

const { values } = parseArgs({ options: { rows: { type: 'string', default: '10000' } } });
const rows = Number(values.rows);
if (!Number.isInteger(rows) || rows < 5) throw new Error('--rows must be a whole number from 5');
const directory = mkdtempSync(join(tmpdir(), 'stathera-demo-'));
process.once('exit', () => {
  removeServerNow();
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
});
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

const print = (line: string) => void process.stdout.write(`${line}\n`);
const counts = { steps: 0, checks: 0, failed: 0 };
const started = performance.now();
try {
  await show({
    directory,
    rows,
    told: {
      step: (title) => print(`\n${(counts.steps += 1)}. ${title}`),
      say: (text) => print(`   ${text}`),
      check(text, holds) {
        counts.checks += 1;
        if (!holds) counts.failed += 1;
        print(`   ${holds ? 'ok    ' : 'FAILED'} ${text}`);
      },
    },
  });
} catch (error) {
  counts.failed += 1;
  print(`   FAILED ${error instanceof Error ? error.message : String(error)}`);
} finally {
  await removeServer();
}
const seconds = ((performance.now() - started) / 1000).toFixed(1);
print(
  counts.failed === 0
    ? `\nall ${counts.checks} checks hold (${seconds} s)`
    : `\n${counts.failed} of ${counts.checks} checks FAILED (${seconds} s)`,
);
process.exitCode = counts.failed === 0 ? 0 : 1;
