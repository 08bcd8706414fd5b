import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const projectRoot = fileURLToPath(new URL('../../', import.meta.url));
export const mainFile = join(projectRoot, 'src/main.ts');

/** One initialized data directory a run, copied for each test: set-up costs a second, a copy milliseconds. */
export function templateDirectory(runnerPid: number): string {
  return join(tmpdir(), `stathera-test-${runnerPid}`);
}

/** What one run's processes have compiled of the sources. */
export function compiledDirectory(runnerPid: number): string {
  return join(tmpdir(), `stathera-compiled-${runnerPid}`);
}

/** A data directory of its own, initialized; remove it with `removeDirectory`. */
export async function freshDataDir(): Promise<string> {
  const template = templateDirectory(process.ppid);
  await ensureTemplate(template);
  const directory = await emptyDirectory();
  await cp(template, directory, { recursive: true });
  const conf = join(directory, 'hsm', 'softhsm2.conf');
  const text = await readFile(conf, 'utf8');
  await writeFile(
    conf,
    text.replace(
      /^directories\.tokendir = .*$/m,
      `directories.tokendir = ${join(directory, 'hsm', 'tokens')}`,
    ),
  );
  return directory;
}

export function emptyDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'stathera-'));
}

export function removeDirectory(directory: string): Promise<void> {
  return rm(directory, { recursive: true, force: true });
}

/** The first token, which has every scope. */
export async function bootstrapToken(dataDir: string): Promise<string> {
  return (await readFile(join(dataDir, 'bootstrap-token'), 'utf8')).trim();
}

async function ensureTemplate(template: string): Promise<void> {
  if (await readFile(join(template, 'initialized')).catch(() => undefined)) return;
  const own = `${template}.${process.pid}`;
  await rm(own, { recursive: true, force: true });
  await runMain(['init'], { STATHERA_DATA_DIR: own });
  // Whoever is first gives the template; the others drop theirs.
  await rename(own, template).catch(() => rm(own, { recursive: true, force: true }));
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Environment for a child: this one's, without settings of the service, and `env`. A service is one process, which
 * tests may kill and stop as a whole, unless `env` says otherwise.
 */
export function childEnvironment(env: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('STATHERA_') || name === 'STATHERA_PKCS11_MODULE',
  );
  return { ...Object.fromEntries(inherited), NODE_NO_WARNINGS: '1', STATHERA_PROCESSES: '1', ...env };
}

/** Runs the `stathera` command to its end. @throws when it fails, unless `allowFailure` */
export async function runMain(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { allowFailure = false } = {},
): Promise<Finished> {
  const child = spawn(process.execPath, [mainFile, ...args], {
    env: childEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0 && !allowFailure)
    throw new Error(`stathera ${args.join(' ')} ended with ${code}: ${stderr}`);
  return { code, stdout, stderr };
}
