import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  bootstrapToken,
  childEnvironment,
  emptyDirectory,
  freshDataDir,
  mainFile,
  removeDirectory,
  runMain,
} from './data.ts';
import { startPostgres, type TestPostgres } from './postgres.ts';

export interface TestService {
  readonly url: string;
  readonly dataDir: string;
  /** Where it is no file of the data directory. */
  readonly databaseUrl?: string | undefined;
  /** The token that has every scope. */
  readonly token: string;
  readonly pid: number;
  /** What the service wrote so far. */
  stdout(): string;
  stderr(): string;
  /** A call with the bootstrap token, or another. */
  call(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answer>;
  /** Ends the process group at once, as a power cut would. */
  kill(): Promise<void>;
  /** SIGTERM; @returns the exit code */
  stop(): Promise<number | null>;
  /** `stop`, and the data directory is removed unless it was given. */
  dispose(): Promise<void>;
}

export interface CallOptions {
  /** Bearer token; null sends none. */
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Readonly<Record<string, unknown>>;
}

let server: Promise<TestPostgres> | undefined;

/** One server a test file. */
function sharedPostgres(): Promise<TestPostgres> {
  server ??= startPostgres();
  return server;
}

/** After all tests of a file: test/setup/postgres.ts. */
export async function removeSharedPostgres(): Promise<void> {
  await (await server)?.remove();
  server = undefined;
}

/** A place for a new service, over the database that this run is for. */
async function newPlace(env: Readonly<Record<string, string>>) {
  if (process.env['STATHERA_TEST_DATABASE'] !== 'postgres' || env['STATHERA_DATABASE_URL'] !== undefined)
    return { directory: await freshDataDir(), database: {} };
  const directory = await emptyDirectory();
  const database = { STATHERA_DATABASE_URL: await (await sharedPostgres()).createDatabase() };
  await runMain(['init'], { STATHERA_DATA_DIR: directory, ...database });
  return { directory, database };
}

const startMilliseconds = 30_000;

/** Process groups of services that run. None outlives the process that started it. */
const groups = new Set<number>();
process.once('exit', () => {
  for (const pid of groups) {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It ended, and this process had not heard of it.
    }
  }
});

/** The real service as its own process group on a free port of 127.0.0.1. */
export async function startTestService({
  dataDir,
  env = {},
  token: given,
  program = mainFile,
}: {
  dataDir?: string;
  env?: Readonly<Record<string, string>>;
  /** Of a node that was enrolled, and so has no first token of its own. */
  token?: string;
  /** Another entry of the same service, as tests of faults have. */
  program?: string;
} = {}): Promise<TestService> {
  const place = dataDir === undefined ? await newPlace(env) : { directory: dataDir, database: {} };
  const { directory, database } = place;
  const settings = { ...database, ...env };
  const child = spawn(process.execPath, [program, 'serve'], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: childEnvironment({ STATHERA_LISTEN: '127.0.0.1:0', STATHERA_DATA_DIR: directory, ...settings }),
  });
  const group = child.pid;
  if (group !== undefined) {
    groups.add(group);
    child.once('close', () => groups.delete(group));
  }
  const output = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk) => {
    output.stdout += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    output.stderr += chunk;
  });
  const url = await listening(child, output);
  const token = given ?? (await bootstrapToken(directory));
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  const end = async (signal: NodeJS.Signals, pid: number): Promise<number | null> => {
    if (!ended()) {
      const closed = once(child, 'close');
      process.kill(pid, signal);
      await closed;
    }
    return child.exitCode;
  };
  const pid = child.pid ?? 0;
  return {
    url,
    dataDir: directory,
    databaseUrl: (settings as Record<string, string>)['STATHERA_DATABASE_URL'],
    token,
    pid,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    call: (method, path, body, options) => call(url, token, method, path, body, options),
    kill: async () => void (await end('SIGKILL', -pid)),
    stop: () => end('SIGTERM', pid),
    async dispose() {
      await end('SIGTERM', pid);
      if (dataDir === undefined) await removeDirectory(directory);
    },
  };
}

async function listening(child: ChildProcess, output: { stdout: string; stderr: string }): Promise<string> {
  const deadline = Date.now() + startMilliseconds;
  while (Date.now() < deadline) {
    const url = /^stathera listening on (\S+)$/m.exec(output.stdout)?.[1];
    if (url !== undefined) return url;
    if (child.exitCode !== null || child.signalCode !== null) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  child.kill('SIGKILL');
  throw new Error(`the service did not start: ${output.stderr}`);
}

async function call(
  url: string,
  ownToken: string,
  method: string,
  path: string,
  body?: unknown,
  { token = ownToken, headers = {} }: CallOptions = {},
): Promise<Answer> {
  const response = await fetch(new URL(path, url), {
    method,
    headers: {
      ...(token !== null && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && {
        'content-type': body instanceof Uint8Array ? 'application/octet-stream' : 'application/json',
      }),
      ...headers,
    },
    ...(body !== undefined && {
      body: typeof body === 'string' || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
    }),
    signal: AbortSignal.timeout(30_000),
  });
  const text = await response.text();
  const isJson = /[/+]json/.test(response.headers.get('content-type') ?? '');
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: isJson ? (JSON.parse(text) as Answer['body']) : {},
  };
}
