import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { buffer, text } from 'node:stream/consumers';
import { childEnvironment, mainFile, runMain } from '../support/data.ts';

export type Env = Readonly<Record<string, string>>;

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as JSON. */
  json(): unknown;
}

/** One command as a user's shell runs it. */
export async function run(env: Env, ...args: string[]): Promise<Run> {
  const ended = await runMain(args, env, { allowFailure: true });
  return { ...ended, json: (): unknown => JSON.parse(ended.stdout) };
}

/** A command with open pipes; the test ends it. */
export function start(env: Env, ...args: string[]): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [mainFile, ...args], { env: childEnvironment(env) });
  // Of a command that has ended.
  child.stdin.on('error', () => undefined);
  return child;
}

/** One command between pipes. */
export async function pipe(
  env: Env,
  input: Uint8Array,
  ...args: string[]
): Promise<{ code: number | null; stdout: Buffer; stderr: string }> {
  const child = start(env, ...args);
  const closed = once(child, 'close') as Promise<[number | null]>;
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([buffer(child.stdout), text(child.stderr), closed]);
  return { code, stdout, stderr };
}

/** Commands as a line of a shell, where `stathera` is the command. */
export async function shell(env: Env, line: string): Promise<Run> {
  const script = `stathera() { '${process.execPath}' '${mainFile}' "$@"; }\n${line}`;
  const child = spawn('bash', ['-c', script], {
    env: childEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close') as Promise<[number | null]>;
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
  return { code, stdout, stderr, json: (): unknown => JSON.parse(stdout) };
}
