// Runs every bench under bench/, each in a process of its own, one after the other, and writes what they
// measured to bench/results/latest.json. A bench prints for people and ends with one line of JSON.
// Run: node bench/run.ts [--full] [--directory DIR] [part of a bench's path, to run only those]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  options: { full: { type: 'boolean' }, directory: { type: 'string' } },
  allowPositionals: true,
});
const [wanted = ''] = positionals;
const passedOn = [
  ...(values.full === true ? ['--full'] : []),
  ...(values.directory === undefined ? [] : ['--directory', values.directory]),
];
const results = join(import.meta.dirname, 'results');

/** Runs one bench and shows what it prints as it prints it. @returns its result; undefined when it failed */
async function run(file: string): Promise<object | undefined> {
  process.stdout.write(`\n${file}\n`);
  const child = spawn(process.execPath, [join(import.meta.dirname, file), ...passedOn], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
  });
  const closed = once(child, 'close') as Promise<[number | null]>;
  let last = '';
  for await (const line of createInterface(child.stdout)) {
    if (last !== '') process.stdout.write(`  ${last}\n`);
    last = line;
  }
  const [code] = await closed;
  if (code === 0) return JSON.parse(last) as object;
  process.stdout.write(`  ${last}\n  FAILED: it ended with ${code}\n`);
  return undefined;
}

const files = globSync('**/*.bench.ts', { cwd: import.meta.dirname })
  .filter((file) => file.includes(wanted))
  .toSorted();
if (files.length === 0) throw new Error(`no bench has ${wanted} in its path`);
const started = performance.now();
const measured: object[] = [];
for (const file of files) {
  const result = await run(file);
  if (result !== undefined) measured.push(result);
}

const machine = {
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
};
mkdirSync(results, { recursive: true });
const latest = join(results, 'latest.json');
writeFileSync(
  latest,
  `${JSON.stringify({ measuredAt: new Date().toISOString(), machine, measured }, null, 2)}\n`,
);
process.stdout.write(`\n${latest} (${((performance.now() - started) / 1000).toFixed(0)} s)\n`);
process.exitCode = measured.length === files.length ? 0 : 1;
