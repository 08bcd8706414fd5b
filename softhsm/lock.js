// One set-up at a time. The lock names the processes that work under it, so that one left by a killed
// set-up is told from a live one, also when only the installer it had started lives on.
import { linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SetupError, say } from './say.js';

const pollMs = 200;
const limitMs = 20 * 60_000;
/** A lock without readable content is being written; if it stays so, its writer was killed. */
const writingMs = 2_000;

function readText(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * When the process began (in clock ticks since boot) where /proc tells, which tells reused ids apart;
 * 'ended' for one whose end its parent has not noticed yet.
 */
function birthOf(pid) {
  const stat = readText(`/proc/${pid}/stat`);
  if (!stat) return undefined;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? 'ended' : fields[19];
}

const identity = (pid) => ({ pid, birth: birthOf(pid) });

function isAlive({ pid, birth }) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
  return birth === undefined || birth === birthOf(pid);
}

/** The text of the lock and who is alive under it; undefined when there is no lock. */
function inspect(file) {
  const text = readText(file);
  if (text === undefined) return undefined;
  try {
    return { text, alive: JSON.parse(text).filter(isAlive), writing: false };
  } catch {
    const stat = statSync(file, { throwIfNoEntry: false });
    return { text, alive: [], writing: stat !== undefined && Date.now() - stat.mtimeMs < writingMs };
  }
}

/** Takes a dead set-up's lock away, and gives it back if another process has replaced it meanwhile. */
function removeStale(file, text) {
  const grave = `${file}.${process.pid}`;
  try {
    renameSync(file, grave);
    if (readText(grave) !== text) linkSync(grave, file);
  } catch {
    // someone else was faster
  }
  rmSync(grave, { force: true });
}

function tryTake(file) {
  try {
    writeFileSync(file, JSON.stringify([identity(process.pid)]), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    return false;
  }
}

function waitOrTakeOver(file) {
  const lock = inspect(file);
  if (!lock || lock.writing || lock.alive.length > 0) return lock;
  say('taking over from a set-up that was ended half-way');
  removeStale(file, lock.text);
  return undefined;
}

/** Waits for the lock `file`, then gives `alsoHeldBy(pid)`, to be told of a child, and `release()`. */
export async function takeLock(file) {
  const since = Date.now();
  let told = false;
  while (!tryTake(file)) {
    const lock = waitOrTakeOver(file);
    if (!told && lock && lock.alive.length > 0) {
      say(`waiting for another set-up (process ${lock.alive[0].pid})`);
      told = true;
    }
    if (Date.now() - since > limitMs) {
      throw new SetupError(
        `another set-up has been running for ${limitMs / 60_000} minutes`,
        `end it, or delete ${file} if there is none`,
      );
    }
    if (lock) await sleep(pollMs);
  }
  const own = [identity(process.pid)];
  return {
    alsoHeldBy: (pid) => {
      own.push(identity(pid));
      writeFileSync(`${file}.${process.pid}.new`, JSON.stringify(own));
      renameSync(`${file}.${process.pid}.new`, file);
    },
    release: () => rmSync(file, { force: true }),
  };
}
