import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  areDependenciesInstalled,
  checkNodeIsToBeHad,
  installDependencies,
  nodeProgram,
} from './dependencies.js';
import { takeLock } from './lock.js';
import { runProgram } from './process.js';
import { SetupError, say } from './say.js';
import { ensureSystemPackages, findModule } from './system.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dataDir = resolve(root, process.env.STATHERA_DATA_DIR || 'data');

/** `stathera init` writes this file last. */
const isInitialized = () => existsSync(join(dataDir, 'initialized'));

function isAllDone() {
  return areDependenciesInstalled(root) && findModule() !== undefined && isInitialized();
}

async function initialize(options) {
  await runProgram('preparing the token and the database', nodeProgram(root), ['src/main.ts', 'init'], {
    ...options,
    cwd: root,
    whatNext: `see above why it failed, then start again: what is done in ${dataDir} is kept`,
  });
}

async function finish(started) {
  const installed = areDependenciesInstalled(root);
  await ensureSystemPackages({ forBuilding: !installed, started });
  if (!installed) await installDependencies(root, { started });
  if (!isInitialized()) await initialize({ started });
}

async function setUp() {
  checkNodeIsToBeHad(root);
  if (isAllDone()) return;
  const lock = await takeLock(join(root, '.setup.lock'));
  try {
    await finish(lock.alsoHeldBy);
  } finally {
    lock.release();
  }
}

export async function run() {
  try {
    await setUp();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
    say(`what to do next: ${error.whatNext}`);
    process.exitCode = 1;
  }
}
