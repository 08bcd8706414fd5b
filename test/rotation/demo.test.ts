import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { childEnvironment, emptyDirectory, projectRoot, removeDirectory } from '../support/data.ts';
import { whyNoPostgres } from '../support/postgres.ts';

const rows = 100;
const databases = whyNoPostgres() === undefined ? ['sqlite', 'postgres'] : ['sqlite'];

/** What the demo is there to show; figures that differ between runs are left out. */
const shown = [
  /^ok +rotated \d+ times by the service, by date$/,
  /^ok +their destruction is refused: key\/version-in-use$/,
  ...databases.map(() => /^ok +two scans agree: all 100 rows are of version \d+$/),
  /^ok +are retired: decrypt-only$/,
  /^ok +a dry run says that nothing would become unreadable$/,
  /^ok +are destroyed after 2 s$/,
  ...databases.map((kind) => new RegExp(`^ok +100 of 100 rows of ${kind} open, and are what was encrypted$`)),
  /^ok +a ciphertext of version 1 that was kept aside does not open: \S+$/,
  /^ok +the audit log of \d+ records is whole$/,
  /^all \d+ checks hold /,
];

/** Guarantees that the demo shows what it says, in that order, with every check, and leaves nothing behind. */
test('the rotation', { timeout: 300_000 }, async () => {
  const directory = await emptyDirectory();
  onTestFinished(() => removeDirectory(directory));
  // PostgreSQL is another user's where the tests are root's, who must get to its files.
  chmodSync(directory, 0o755);
  const child = spawn(process.execPath, [join(projectRoot, 'test/rotation/demo.ts'), '--rows', `${rows}`], {
    env: childEnvironment({ TMPDIR: directory }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGINT'));
  const closed = once(child, 'close') as Promise<[number | null]>;
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
  const lines = stdout.split('\n').map((line) => line.trim());
  expect([stdout, stderr, lines.filter((line) => line.startsWith('FAILED'))]).toEqual([stdout, '', []]);
  let from = 0;
  for (const pattern of shown) {
    const at = lines.findIndex((line, index) => index >= from && pattern.test(line));
    expect([String(pattern), at >= from]).toEqual([String(pattern), true]);
    from = at + 1;
  }
  expect([code, readdirSync(directory)]).toEqual([0, []]);
});
