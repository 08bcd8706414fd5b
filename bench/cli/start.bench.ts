// What: from the start of the built `stathera` to the first byte it prints: its version, a list of keys, the beginning
// of a small file's ciphertext; the last two ask a real service, whose answer is in the time.
// Leaves out: commands that load adapters (serve, init, doctor, audit verify), TLS, a network, a cold disk.
// Floor: node -e 0, from its start to its end, starts of both taking turns.
// Run: node bench/cli/start.bench.ts [--directory DIR]
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { childEnvironment, projectRoot } from '../../test/support/data.ts';
import { type Bench, bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';
import { initialize, startService } from '../support/service.ts';

const startsARound = 10;

/** The package as it is installed. @returns its program */
function build(bench: Bench): string {
  const directory = bench.directory();
  const built = spawnSync(process.execPath, [join(projectRoot, '.ci/build.js'), join(directory, 'dist')], {
    stdio: 'inherit',
  });
  if (built.status !== 0) throw new Error('it could not be built');
  copyFileSync(join(projectRoot, 'package.json'), join(directory, 'package.json'));
  symlinkSync(join(projectRoot, 'node_modules'), join(directory, 'node_modules'));
  return join(directory, 'dist/main.js');
}

/** @returns milliseconds to the first byte on stdout, or to the end when there is none */
async function started(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const start = performance.now();
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close') as Promise<[number | null]>;
  let firstMs: number | undefined;
  child.stdout.on('data', () => (firstMs ??= performance.now() - start));
  const [code] = await closed;
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`);
  return firstMs ?? performance.now() - start;
}

await bench('cli/start', async (bench) => {
  const program = build(bench);
  const dataDir = await initialize(bench);
  const service = await startService(bench, dataDir);
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const file = join(bench.directory(), 'small');
  writeFileSync(file, randomBytes(100));
  const env = childEnvironment({
    STATHERA_URL: `http://127.0.0.1:${service.port}`,
    STATHERA_TOKEN_FILE: join(dataDir, 'bootstrap-token'),
  });
  const rows: RateRow[] = [];
  for (const [what, args, targetRatio] of [
    ['--version', ['--version'], 1 / 3],
    ['keys list', ['keys', 'list'], 1 / 3],
    ['encrypt 100 B', ['encrypt', '--key', 'bench', file, '--output', '-'], 1 / 3],
  ] as const) {
    bench.progress(what);
    const { rate, floor, ratio } = await medianRound(async () => {
      let [own, bare] = [0, 0];
      for (let each = 0; each < startsARound; each += 1) {
        own += await started([program, ...args], env);
        bare += await started(['-e', '0'], env);
      }
      return { rate: (startsARound * 1000) / own, floor: (startsARound * 1000) / bare };
    });
    rows.push({ what, rate, floor, ratio, targetRatio, p50Ms: 1000 / rate });
  }
  return { rows, setting: { rounds, startsARound } };
});
