import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { fencedBlocks, readDocument } from './markdown.ts';

const unit = readDocument('docs/deploy/stathera.service');

/** Guarantees that the unit on the page for operators is the file that they install. */
test('the page shows the unit', () => {
  const [block] = fencedBlocks(readDocument('docs/operate.md')).filter(({ language }) => language === 'ini');
  expect(`${block?.code.trimEnd()}\n`).toBe(unit);
});

/** Guarantees that systemd understands every line of the unit. */
test('systemd takes the unit', ({ skip }) => {
  skip(spawnSync('systemd-analyze', ['--version']).status !== 0, 'needs systemd-analyze');
  const folder = mkdtempSync(join(tmpdir(), 'stathera-unit-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'stathera.service');
  // This machine may have its Node elsewhere.
  writeFileSync(file, unit.replace('/usr/bin/node', process.execPath));
  const verified = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
  expect([verified.status, verified.stderr]).toEqual([0, '']);
});
