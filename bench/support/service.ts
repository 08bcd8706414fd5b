// The real service as a process of its own, on a free port of 127.0.0.1.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { bootstrapToken, childEnvironment, mainFile, runMain } from '../../test/support/data.ts';
import type { Bench } from './bench.ts';

export interface BenchService {
  readonly port: number;
  readonly pid: number;
  /** The token that has every scope. */
  readonly token: string;
  /** From the start of the process to its listening. */
  readonly startMs: number;
  /** A call outside the measurement. @throws Error for any answer but a success */
  call<Answer = unknown>(method: string, path: string, body?: unknown): Promise<Answer>;
  stop(): Promise<void>;
}

type Environment = Readonly<Record<string, string>>;

/** A data directory with a token, a database and a bootstrap token. */
export async function initialize(bench: Bench, env: Environment = {}): Promise<string> {
  const directory = bench.directory();
  await runMain(['init'], { STATHERA_DATA_DIR: directory, ...env });
  return directory;
}

export async function startService(
  bench: Bench,
  directory: string,
  env: Environment = {},
): Promise<BenchService> {
  const started = performance.now();
  const child = spawn(process.execPath, [mainFile, 'serve'], {
    env: childEnvironment({
      STATHERA_DATA_DIR: directory,
      STATHERA_LISTEN: '127.0.0.1:0',
      STATHERA_LOG_LEVEL: 'warn',
      ...env,
    }),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  bench.atEnd(() => child.kill('SIGKILL'));
  const port = await listening(child);
  const startMs = performance.now() - started;
  const token = await bootstrapToken(directory);
  return {
    port,
    token,
    startMs,
    pid: child.pid ?? 0,
    call: (method, path, body) => call(`http://127.0.0.1:${port}${path}`, { method, token, body }),
    async stop() {
      const closed = once(child, 'close');
      child.kill('SIGTERM');
      await closed;
    },
  };
}

function listening(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const port = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(text)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
    child.once('close', () => reject(new Error('the service ended')));
  });
}

async function call<Answer>(
  url: string,
  { method, token, body }: { method: string; token: string; body: unknown },
): Promise<Answer> {
  const answer = await fetch(url, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${text}`);
  const isJson = answer.headers.get('content-type')?.includes('json') ?? false;
  return (isJson ? JSON.parse(text) : text) as Answer;
}
