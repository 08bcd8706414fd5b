import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readDocument, tableRows } from '../docs/markdown.ts';
import { projectRoot } from '../support/data.ts';

const benches = globSync('bench/**/*.bench.ts', { cwd: projectRoot });

/** Guarantees that every bench says what it measures, what it leaves out, against what, and how it is run. */
test.each(benches)('%s says what it leaves out', (file) => {
  const source = readFileSync(join(projectRoot, file), 'utf8');
  const head = source.slice(0, source.search(/^(?!\/\/)/m));
  const said = [...head.matchAll(/^\/\/ (What|Leaves out|Floors?|Run): .+/gm)].map(([, word]) => word);
  expect(said).toEqual(['What', 'Leaves out', expect.stringMatching(/^Floors?$/), 'Run']);
  expect(head).toContain(`// Run: node ${file}`);
});

/** Guarantees that the page explains each bench, and no other. */
test('the table of benches is complete', () => {
  expect(benches.length).toBeGreaterThan(5);
  const rows = tableRows(readDocument('docs/performance.md'), 'bench');
  expect(new Set(rows.map(([file]) => file))).toEqual(new Set(benches));
});
