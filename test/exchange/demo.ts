// Shows a file that goes from one party to another through the service, closed to a later quantum computer: sealed to
// X-Wing, signed by ML-DSA-65 and Ed25519, over TLS by X25519MLKEM768; and a key that comes in the same way.
// Run: npm run demo:exchange. It needs openssl, leaves nothing behind, and ends with 1 unless every check holds.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { show } from './show/show.ts';

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
