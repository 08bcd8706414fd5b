import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const root = dirname(dirname(import.meta.dirname));

export interface SetupRun {
  readonly process: ChildProcess;
  readonly result: Promise<{
    readonly code: number | null;
    readonly stderr: string;
    readonly milliseconds: number;
  }>;
}

/** A copy of what the set-up needs, in a temporary directory, to be set up, killed and broken. */
export interface Copy {
  readonly path: string;
  /** Puts a program of this name first on the PATH of later runs. */
  program(name: string, shellScript: string): void;
  write(file: string, text: string): void;
  read(file: string): string;
  has(file: string): boolean;
  /** Runs the set-up as a process group of its own. */
  start(env?: NodeJS.ProcessEnv, nodeArguments?: readonly string[]): SetupRun;
  remove(): void;
}

export function makeCopy(files: readonly string[] = ['package.json', 'package-lock.json', 'softhsm']): Copy {
  const path = mkdtempSync(join(tmpdir(), 'stathera-setup-'));
  for (const file of files) cpSync(join(root, file), join(path, file), { recursive: true });
  const programs = join(path, 'programs');
  mkdirSync(programs);
  return {
    path,
    program(name, shellScript) {
      writeFileSync(join(programs, name), `#!/bin/sh\nset -e\n${shellScript}`);
      chmodSync(join(programs, name), 0o755);
    },
    write(file, text) {
      mkdirSync(dirname(join(path, file)), { recursive: true });
      writeFileSync(join(path, file), text);
    },
    read: (file) => readFileSync(join(path, file), 'utf8'),
    has: (file) => existsSync(join(path, file)),
    start(env = {}, nodeArguments = []) {
      const since = performance.now();
      const child = spawn(process.execPath, [...nodeArguments, 'softhsm/setup.js'], {
        cwd: path,
        detached: true,
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { PATH: `${programs}:${process.env['PATH']}`, HOME: process.env['HOME'], ...env },
      });
      let stderr = '';
      child.stderr.on('data', (chunk: Buffer) => {
        stderr += chunk.toString();
      });
      const result = new Promise<Awaited<SetupRun['result']>>((resolve, reject) => {
        child.on('error', reject);
        child.on('close', (code) => resolve({ code, stderr, milliseconds: performance.now() - since }));
      });
      return { process: child, result };
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
