// The checks, the same here and in CI: `npm run check` (`--static` leaves the tests out).
// The static ones run beside each other, at most one a core; a check's output is shown when it fails.
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const shownLines = 120;
const bin = (name) => join(root, 'node_modules', '.bin', name);

const staticChecks = [
  ['types', bin('tsc'), '-p', root],
  ['lint', bin('oxlint'), '--type-aware', '--deny-warnings', '--format=unix'],
  ['format', bin('biome'), 'check', '--error-on-warnings'],
  ['dead code', bin('knip'), '--no-config-hints'],
  ['import directions', bin('depcruise'), '--config', '.dependency-cruiser.cjs', 'src', 'test'],
  ['lockfile and licences', process.execPath, join(root, '.ci', 'lockfile.js')],
];

// The quick ones: the rest of the tests start services, set-ups, browsers or kill processes.
const unitTests = [
  'unit tests',
  bin('vitest'),
  'run',
  ...['setup', 'faults', 'browser', 'contract', 'container', 'package'].flatMap((folder) => [
    '--exclude',
    `test/${folder}/**`,
  ]),
];

/** One mistake can bring hundreds of complaints: the first are enough to begin with. */
function shorten(text) {
  const lines = text.trimEnd().split('\n');
  if (lines.length <= shownLines) return text;
  return [...lines.slice(0, shownLines), `… and ${lines.length - shownLines} more lines`, ''].join('\n');
}

/** Runs one check; resolves to whether it passed. */
function run([title, command, ...args], { live = false } = {}) {
  const started = performance.now();
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', live ? 'inherit' : 'pipe', live ? 'inherit' : 'pipe'],
      env: { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
    });
    const output = [];
    child.stdout?.on('data', (chunk) => output.push(chunk));
    child.stderr?.on('data', (chunk) => output.push(chunk));
    child.on('error', (error) => output.push(Buffer.from(`${error.message}\n`)));
    child.on('close', (code) => {
      const passed = code === 0;
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      console.log(`${passed ? 'ok    ' : 'FAILED'}  ${title} (${seconds} s)`);
      if (!passed && !live) console.log(shorten(Buffer.concat(output).toString()));
      resolve(passed);
    });
  });
}

async function runAll(checks) {
  const waiting = [...checks];
  let passed = true;
  const lane = async () => {
    for (let check = waiting.shift(); check; check = waiting.shift()) {
      if (!(await run(check))) passed = false;
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, lane));
  return passed;
}

const started = performance.now();
let passed = await runAll(staticChecks);
if (!process.argv.includes('--static')) passed = (await run(unitTests, { live: true })) && passed;
console.log(
  `${passed ? 'all checks passed' : 'some checks failed'} (${((performance.now() - started) / 1000).toFixed(1)} s)`,
);
process.exitCode = passed ? 0 : 1;
