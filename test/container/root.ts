import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, copyFileSync, cpSync, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { readConfig } from '../../src/config.ts';
import { projectRoot } from '../support/data.ts';

/** The image's user, as .ci/image.sh makes it. */
export const imageUser = 10_001;

const script = join(projectRoot, '.ci/image.sh');
const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';

/** Why the image's files cannot be run here; undefined where they can. */
export function obstacle(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux';
  const { status } = spawnSync('unshare', ['--mount', '--pid', '--ipc', '--fork', 'true']);
  if (status !== 0) return 'needs namespaces of its own (unshare)';
  if (nightly && spawnSync('mmdebstrap', ['--version']).status !== 0) return 'needs mmdebstrap';
  return undefined;
}

/** The arguments that run `command` of the image's files in `root`, with `volume`. */
export function inRoot(root: string, volume: string, command: readonly string[]): [string, string[]] {
  return ['sh', [script, 'run', root, volume, ...command]];
}

/**
 * The image's files in a new directory below `directory`: at the nightly scale those that the image's steps make;
 * otherwise the application, Node and the libraries that they and SoftHSM are linked to, and nothing else.
 */
export function makeRoot(directory: string): string {
  const root = join(directory, 'root');
  if (nightly) execFileSync('sh', [script, 'root', root], { cwd: projectRoot, stdio: 'pipe' });
  else makeBareRoot(root);
  return root;
}

function makeBareRoot(root: string): void {
  for (const folder of ['app', 'dev', 'proc', 'tmp', 'var/lib/stathera']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  const app = join(root, 'app');
  execFileSync(process.execPath, [join(projectRoot, '.ci/build.js'), join(app, 'dist')]);
  for (const file of ['package.json', 'LICENSE']) cpSync(join(projectRoot, file), join(app, file));
  const list = ['ls', '--omit=dev', '--omit=optional', '--all', '--parseable'];
  const [, ...packages] = execFileSync('npm', list, { cwd: projectRoot, encoding: 'utf8' })
    .trim()
    .split('\n');
  for (const path of packages) {
    const nested = (from: string) => from !== path && basename(from) === 'node_modules';
    cpSync(path, join(app, relative(projectRoot, path)), {
      recursive: true,
      filter: (from) => !nested(from),
    });
  }
  copyTo(process.execPath, join(root, 'usr/local/bin/node'));
  // Where the service looks for it; its libraries and Node's are all that the native packages need.
  const { module } = readConfig({}).hsm;
  for (const file of [module, ...[process.execPath, module].flatMap(librariesOf)]) {
    copyTo(file, join(root, file));
  }
}

function librariesOf(file: string): string[] {
  const text = spawnSync('ldd', [file], { encoding: 'utf8' }).stdout;
  return [...text.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path);
}

/** Copies a file, or the one that a link leads to. */
function copyTo(file: string, target: string): void {
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(file, target);
}

/** An empty volume, as a container's owner finds it. */
export function makeVolume(directory: string): string {
  const volume = mkdtempSync(join(directory, 'volume-'));
  chownSync(volume, imageUser, imageUser);
  return volume;
}

export function makeDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'stathera-image-'));
}
