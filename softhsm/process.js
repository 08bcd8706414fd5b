import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { SetupError, say } from './say.js';

const stillRunningMs = 15_000;
const shownLines = 40;

/** The program's path, or undefined when PATH has none. */
export function findProgram(name) {
  for (const folder of (process.env.PATH || '').split(delimiter)) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      // look on
    }
  }
  return undefined;
}

function seconds(since) {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}

/** The first and the last lines: the cause is at one end or the other. */
function shorten(lines) {
  if (lines.length <= 2 * shownLines) return lines;
  return [
    ...lines.slice(0, shownLines),
    `… ${lines.length - 2 * shownLines} lines …`,
    ...lines.slice(-shownLines),
  ];
}

/**
 * Runs a program to its end, saying what is done; its output is shown only if it fails.
 * @param started called with the process id
 * @throws SetupError with `whatNext`
 */
export function runProgram(title, command, args, { env, cwd, whatNext, started } = {}) {
  const since = Date.now();
  say(`${title} …`);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: env || process.env, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    const reminder = setInterval(() => say(`still running (${seconds(since)})`), stillRunningMs);
    if (child.pid && started) started(child.pid);
    child.on('error', (error) => {
      clearInterval(reminder);
      reject(new SetupError(`${command} could not be run: ${error.message}`, whatNext));
    });
    child.on('close', (code, signal) => {
      clearInterval(reminder);
      if (code === 0) {
        say(`done (${seconds(since)})`);
        resolve();
        return;
      }
      const lines = Buffer.concat(output).toString().trimEnd().split('\n');
      process.stderr.write(`${shorten(lines).join('\n')}\n`);
      const how = signal ? `was ended by ${signal}` : `failed with exit code ${code}`;
      reject(new SetupError(`\`${[command, ...args].join(' ')}\` ${how}; its output is above`, whatNext));
    });
  });
}
