import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ServiceError } from '../core/errors.ts';
import { siblingModule } from '../core/sibling-module.ts';
import type { KeyAnswer, KeyRequest } from './key-process.ts';

/** Makes an epoch's keys in a process that ends with it. @throws service/overloaded, internal */
export type MakeKeys = (request: KeyRequest) => Promise<KeyAnswer>;

interface Limits {
  readonly timeoutMilliseconds: number;
  readonly execArgv: readonly string[];
}

/** A process takes half a second and 90 MB. */
const usualLimits: Limits = {
  timeoutMilliseconds: 30_000,
  // SEAL's memory may grow to 256 MiB, JavaScript's to 64.
  execArgv: ['--wasm-max-mem-pages=4096', '--max-old-space-size=64', '--max-semi-space-size=2'],
};
const processesLimit = 2;

/** @param limits for tests: others than a process's own */
export function createKeyMaker(limits: Partial<Limits> = {}): MakeKeys {
  let running = 0;
  return async (request) => {
    if (running >= processesLimit) {
      throw new ServiceError('service/overloaded', 'Other datasets are being given keys.', {
        retryAfterSeconds: 2,
      });
    }
    running += 1;
    try {
      return await makeKeys(request, { ...usualLimits, ...limits });
    } finally {
      running -= 1;
    }
  };
}

function makeKeys(request: KeyRequest, { timeoutMilliseconds, execArgv }: Limits): Promise<KeyAnswer> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(siblingModule(import.meta.url, 'key-process')), [], {
      execArgv: [...execArgv],
      // Nothing of the service's settings is needed.
      env: {},
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMilliseconds);
    let answer: KeyAnswer | undefined;
    child.on('message', (message) => {
      answer = message as KeyAnswer;
    });
    child.on('error', () => undefined);
    child.on('exit', () => {
      clearTimeout(timer);
      if (answer) resolve(answer);
      else reject(failed());
    });
    child.send(request, (error) => {
      if (error) child.kill('SIGKILL');
    });
  });
}

function failed(): ServiceError {
  return new ServiceError('internal', 'The keys could not be made.', {
    cause: new Error('the process that makes keys failed'),
  });
}
