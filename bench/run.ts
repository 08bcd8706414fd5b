// Runs every bench under bench/, each in a process of its own, one after the other, and writes what they
// measured to bench/results/latest.json. A bench prints for people and ends with one line of JSON.
// Run: node bench/run.ts [part of a bench's path, to run only those]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';

const wanted = process.argv[2] ?? '';
const results = join(import.meta.dirname, 'results');

/** Runs one bench, shows what it prints and gives its result. */
async function run(file: string): Promise<object> {
  process.stdout.write(`\n${file}\n`);
  const child = spawn(process.execPath, [join(import.meta.dirname, file)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  const lines = text.trimEnd().split('\n');
  const last = lines.pop() ?? '';
  for (const line of lines) process.stdout.write(`  ${line}\n`);
  if (code !== 0) throw new Error(`${file} ended with ${code}`);
  return JSON.parse(last) as object;
}

const files = globSync('**/*.bench.ts', { cwd: import.meta.dirname })
  .filter((file) => file.includes(wanted))
  .toSorted();
if (files.length === 0) throw new Error(`no bench has ${wanted} in its path`);
const measured: object[] = [];
for (const file of files) measured.push(await run(file));

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
process.stdout.write(`\n${latest}\n`);
