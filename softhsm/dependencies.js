// The npm packages: `npm ci` when the lockfile is not the one they were installed from, else nothing.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from './process.js';
import { SetupError } from './say.js';

const oldestMajor = 24;
const isRecent = Number(process.versions.node.split('.')[0]) >= oldestMajor;

/** Packages that are nothing but Node 24 for one system; see optionalDependencies in package.json. */
const nodePackage = `node-${process.platform}-${process.arch}`;

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** What the stamp says after an install from the present lockfile on this system. */
function wantedStamp(root) {
  const lockfile = readFileSync(join(root, 'package-lock.json'));
  return `${createHash('sha256').update(lockfile).digest('hex')} ${process.platform}-${process.arch}\n`;
}

const stampFile = (root) => join(root, 'node_modules', '.stathera-installed');

function writeStamp(root) {
  writeFileSync(`${stampFile(root)}.new`, wantedStamp(root));
  renameSync(`${stampFile(root)}.new`, stampFile(root));
}

/** pkcs11js is built here, by an install script that may have been skipped. */
const isBuilt = (root) => existsSync(join(root, 'node_modules/pkcs11js/build/Release/pkcs11.node'));

export function areDependenciesInstalled(root) {
  try {
    return readFileSync(stampFile(root), 'utf8') === wantedStamp(root) && isBuilt(root);
  } catch (error) {
    if (error.code === 'ENOENT' && existsSync(join(root, 'package-lock.json'))) return false;
    throw error;
  }
}

/** True when npm's own record, which it writes last, says that a developer's `npm install` did the work. */
function wereInstalledByHand(root) {
  const wanted = readJson(join(root, 'package-lock.json'));
  const present = readJson(join(root, 'node_modules/.package-lock.json'));
  if (!wanted || !present || !isBuilt(root)) return false;
  const { '': _, ...packages } = wanted.packages;
  return (
    Object.keys(present.packages).every((path) => path in packages) &&
    Object.entries(packages).every(([path, entry]) => {
      const found = present.packages[path];
      if (!found) return entry.optional === true || entry.devOptional === true;
      return (
        found.version === entry.version && found.integrity === entry.integrity && existsSync(join(root, path))
      );
    })
  );
}

/**
 * node-gyp needs Node's headers and would download them: the package that brings Node 24 has them, else
 * Debian's Node has. Any will do, since pkcs11js uses Node-API alone.
 */
function headersFolder(root) {
  const configured = process.env.npm_config_nodedir;
  // npm's own configuration may name a folder whose headers were never installed.
  if (configured && existsSync(join(configured, 'include/node/node_api.h'))) return configured;
  const lock = readJson(join(root, 'package-lock.json'));
  if (lock && `node_modules/${nodePackage}` in lock.packages) return join(root, 'node_modules', nodePackage);
  return existsSync('/usr/include/node/node_api.h') ? '/usr' : undefined;
}

function buildEnvironment(root) {
  const nodedir = headersFolder(root);
  return {
    ...process.env,
    ...(nodedir && { npm_config_nodedir: nodedir }),
    // Debian's node-gyp links what it builds to Debian's own Node, a second one in the process: no `-lnode`.
    ...(process.platform === 'linux' && { MAKEFLAGS: 'LIBS=' }),
  };
}

const nodeLink = (root) => join(root, 'node_modules/.bin/node');

/**
 * npm 9, which Debian 12 has, makes no link to a program that two packages of the lockfile have, although only one
 * of them is for this system.
 */
function linkNode(root) {
  const program = join(nodePackage, 'bin', 'node');
  if (existsSync(nodeLink(root)) || !existsSync(join(root, 'node_modules', program))) return;
  mkdirSync(join(root, 'node_modules/.bin'), { recursive: true });
  rmSync(nodeLink(root), { force: true });
  symlinkSync(join('..', program), nodeLink(root));
}

/**
 * npm leaves out optional packages, native parts of the tools among them, whose `engines` the Node that runs npm does
 * not meet. True when there are such, which Node 24 would have brought.
 */
function lacksOptionalPackages(root) {
  if (isRecent || !existsSync(join(root, 'node_modules', nodePackage, 'bin/node'))) return false;
  const libc = process.report?.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl';
  const fits = (wanted, here) => wanted === undefined || [wanted].flat().includes(here);
  const { packages } = readJson(join(root, 'package-lock.json')) ?? { packages: {} };
  return Object.entries(packages).some(
    ([path, { optional, os, cpu, libc: library }]) =>
      optional === true &&
      os !== undefined &&
      fits(os, process.platform) &&
      fits(cpu, process.arch) &&
      fits(library, libc) &&
      !existsSync(join(root, path)),
  );
}

export async function installDependencies(root, options) {
  if (wereInstalledByHand(root)) {
    linkNode(root);
    writeStamp(root);
    return;
  }
  rmSync(stampFile(root), { force: true });
  await runProgram(
    'installing the npm packages (about 350 MB, Node 24 among them)',
    'npm',
    // The lockfile's hashes hold for what npm's cache has, too.
    ['ci', '--include=dev', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=warn'],
    {
      ...options,
      cwd: root,
      env: buildEnvironment(root),
      whatNext: 'see above why npm fails (no network?), then start again: what is done is kept',
    },
  );
  if (!isBuilt(root)) {
    throw new SetupError(
      'npm did not build pkcs11js',
      'allow its install script: npm config set ignore-scripts false',
    );
  }
  linkNode(root);
  if (lacksOptionalPackages(root)) {
    const env = buildEnvironment(root);
    await runProgram(
      'installing what npm leaves out under an older Node',
      'npm',
      [
        'install',
        '--no-save',
        '--include=dev',
        '--prefer-offline',
        '--no-audit',
        '--no-fund',
        '--loglevel=warn',
      ],
      {
        ...options,
        cwd: root,
        env: { ...env, PATH: `${join(root, 'node_modules', nodePackage, 'bin')}:${env.PATH}` },
        whatNext: 'see above why npm fails (no network?), then start again: what is done is kept',
      },
    );
    linkNode(root);
  }
  writeStamp(root);
}

/** @throws SetupError when no Node 24 is here and npm has none for this system */
export function checkNodeIsToBeHad(root) {
  const lock = readJson(join(root, 'package-lock.json'));
  if (isRecent || (lock && `node_modules/${nodePackage}` in lock.packages)) return;
  throw new SetupError(
    `this is Node ${process.versions.node}, and Stathera needs ${oldestMajor} or later`,
    process.platform === 'darwin'
      ? 'run: brew install node@24 && export PATH="$(brew --prefix node@24)/bin:$PATH"'
      : 'install Node 24: https://nodejs.org/en/download',
  );
}

/** The Node that runs Stathera: the installed package's, or the present one. */
export function nodeProgram(root) {
  return existsSync(nodeLink(root)) ? nodeLink(root) : process.execPath;
}
