// What comes from the operating system: the SoftHSM module, and a compiler for pkcs11js.
// SoftHSM's own configuration (/etc/softhsm) is left alone: the token has one in the data directory.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram, runProgram } from './process.js';
import { SetupError, say } from './say.js';

const module = 'libsofthsm2.so';

function usualModules() {
  const multiarch = existsSync('/usr/lib')
    ? readdirSync('/usr/lib').map((folder) => join('/usr/lib', folder, 'softhsm', module))
    : [];
  return [
    join('/usr/lib/softhsm', module),
    ...multiarch,
    join('/usr/lib/pkcs11', module),
    join('/usr/lib64/softhsm', module),
    join('/usr/lib64/pkcs11', module),
    join('/opt/homebrew/lib/softhsm', module),
    join('/usr/local/lib/softhsm', module),
  ];
}

/**
 * The PKCS#11 module: the one that STATHERA_PKCS11_MODULE names, or SoftHSM where it usually is.
 * @throws SetupError when the named one is not there
 */
export function findModule() {
  const named = process.env.STATHERA_PKCS11_MODULE;
  if (!named) return usualModules().find((path) => existsSync(path));
  if (existsSync(named)) return named;
  throw new SetupError(
    `STATHERA_PKCS11_MODULE names ${named}, which is not there`,
    "install the HSM's PKCS#11 module, or unset the variable to use SoftHSM",
  );
}

/** What pkcs11js, which comes as C++, is built with: program and Debian package. */
const buildTools = [
  ['g++', 'g++'],
  ['make', 'make'],
  ['python3', 'python3'],
];

function missingBuildTools() {
  return buildTools.filter(([program]) => !findProgram(program)).map(([, pkg]) => pkg);
}

function hasPackageLists() {
  try {
    return readdirSync('/var/lib/apt/lists').some((name) => name.includes('_Packages'));
  } catch {
    return false;
  }
}

async function aptInstall(packages, options) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const lock = ['-o', 'DPkg::Lock::Timeout=300'];
  const whatNext = `see why apt-get fails, or install by hand: apt-get install -y ${packages.join(' ')}`;
  const update = () =>
    runProgram('updating the package lists', 'apt-get', ['update'], { ...options, env, whatNext });
  const install = () =>
    runProgram(
      `installing ${packages.join(', ')}`,
      'apt-get',
      ['install', '-y', '--no-install-recommends', ...lock, ...packages],
      { ...options, env, whatNext },
    );
  if (!hasPackageLists()) await update();
  try {
    await install();
  } catch {
    say('trying again with fresh package lists');
    await update();
    await install();
  }
}

/** Installs what is missing of SoftHSM and, `forBuilding`, of the compiler. */
export async function ensureSystemPackages({ forBuilding, ...options }) {
  const tools = forBuilding ? missingBuildTools() : [];
  const softhsm = findModule() === undefined;
  if (tools.length === 0 && !softhsm) return;
  const missing = [...tools, ...(softhsm ? ['softhsm2'] : [])].join(', ');

  if (process.platform === 'darwin') {
    if (tools.length > 0) throw new SetupError(`${missing} is missing`, 'run: xcode-select --install');
    const whatNext = 'install Homebrew (https://brew.sh) and run: brew install softhsm';
    if (!findProgram('brew')) throw new SetupError('SoftHSM is missing', whatNext);
    await runProgram('installing softhsm', 'brew', ['install', 'softhsm'], { ...options, whatNext });
  } else if (findProgram('apt-get')) {
    const packages = [...tools, ...(softhsm ? ['softhsm2'] : [])];
    if (process.getuid() !== 0) {
      throw new SetupError(
        `${missing} is missing, and installing it needs root`,
        `run: sudo apt-get update && sudo apt-get install -y ${packages.join(' ')}`,
      );
    }
    await aptInstall(packages, options);
  } else {
    throw new SetupError(
      `${missing} is missing`,
      softhsm
        ? "install SoftHSM 2 with your system's package manager, or point STATHERA_PKCS11_MODULE at an HSM's module"
        : "install a C++ compiler, make and Python 3 with your system's package manager",
    );
  }
  if (findModule() === undefined) {
    throw new SetupError(
      `no ${module} was found after installing SoftHSM`,
      'point STATHERA_PKCS11_MODULE at it',
    );
  }
}
