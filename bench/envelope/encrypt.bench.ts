// What: POST /v1/keys/{key}/encrypt of 1 KiB over HTTP/1.1: authenticated, authorized, encrypted by SoftHSM,
// audited durably before the answer. One service process; connections kept open, one request at a time on each.
// Leaves out: TLS, a network, hardware HSMs, several service processes, keys beyond those held in the token.
// Floor: a bare node:http server that reads the same request and answers as many bytes, in the same run, rounds
// taking turns. Service, floor and load generator are processes of their own and share this machine's cores.
// Run: node bench/envelope/encrypt.bench.ts [directory, default the system's temporary one: use a real disk]
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LoadJob, LoadResult } from './load.ts';

const mainFile = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const floorFile = fileURLToPath(new URL('floor.ts', import.meta.url));
const loadFile = fileURLToPath(new URL('load.ts', import.meta.url));
const connectionCounts = [1, 16, 64];
const roundMs = 2_000;
const rounds = 3;
const plaintextBytes = 1024;

interface Round {
  readonly service: LoadResult;
  readonly floor: LoadResult;
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'stathera-bench-'));
  const children: ChildProcess[] = [];
  try {
    const { port, token } = await startService(directory, children);
    await call(port, token, '/v1/keys', { name: 'bench' });
    const body = JSON.stringify({
      plaintext: randomBytes(plaintextBytes).toString('base64'),
      context: { table: 'users', row: '42' },
    });
    const answer = await call(port, token, '/v1/keys/bench/encrypt', JSON.parse(body));
    const floorPort = await startFloor(Buffer.byteLength(answer), children);
    const load = fork(loadFile, { stdio: 'inherit' });
    children.push(load);
    const request = { path: '/v1/keys/bench/encrypt', token, body };
    const measured = [];
    for (const connections of connectionCounts) {
      measured.push(await compare(load, { ...request, connections, port, floorPort }));
    }
    report(measured);
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  }
}

type Comparison = Omit<LoadJob, 'port' | 'ms'> & { readonly port: number; readonly floorPort: number };

/** The round of the median ratio. */
async function compare(load: ChildProcess, { port, floorPort, ...job }: Comparison) {
  const runs: Round[] = [];
  await run(load, { ...job, port, ms: roundMs / 2 });
  for (let round = 0; round < rounds; round += 1) {
    const floor = await run(load, { ...job, port: floorPort, ms: roundMs });
    runs.push({ floor, service: await run(load, { ...job, port, ms: roundMs }) });
  }
  const ratio = ({ service, floor }: Round) => service.rate / floor.rate;
  const median = runs.toSorted((a, b) => ratio(a) - ratio(b))[Math.floor(rounds / 2)];
  if (median === undefined) throw new Error('no rounds');
  return { connections: job.connections, ...median, ratio: ratio(median) };
}

async function run(load: ChildProcess, job: LoadJob): Promise<LoadResult> {
  load.send(job);
  const [result] = (await once(load, 'message')) as [LoadResult | { error: string }];
  if ('error' in result) throw new Error(result.error);
  return result;
}

function report(measured: readonly Awaited<ReturnType<typeof compare>>[]): void {
  for (const { connections, service, floor, ratio } of measured) {
    process.stdout.write(
      `encrypt ${plaintextBytes} B, ${connections} connections: ${Math.round(service.rate)}/s ` +
        `(p50 ${service.p50Ms.toFixed(2)} ms, p99 ${service.p99Ms.toFixed(2)} ms), ` +
        `floor ${Math.round(floor.rate)}/s, ratio ${ratio.toFixed(2)}\n`,
    );
  }
  const cores = availableParallelism();
  process.stdout.write(
    `${JSON.stringify({ bench: 'envelope/encrypt', plaintextBytes, cores, rounds, roundMs, measured })}\n`,
  );
}

async function startService(directory: string, children: ChildProcess[]) {
  const env = {
    ...process.env,
    ...{ STATHERA_DATA_DIR: directory, STATHERA_LISTEN: '127.0.0.1:0', STATHERA_LOG_LEVEL: 'warn' },
  };
  const init = spawn(process.execPath, [mainFile, 'init'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(init, 'close')) as [number | null];
  if (code !== 0) throw new Error(`init ended with ${code}`);
  const service = spawn(process.execPath, [mainFile, 'serve'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(service);
  const port = await new Promise<number>((resolve, reject) => {
    let text = '';
    service.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const found = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(text)?.[1];
      if (found !== undefined) resolve(Number(found));
    });
    service.once('close', () => reject(new Error('the service ended')));
  });
  return { port, token: readFileSync(join(directory, 'bootstrap-token'), 'utf8').trim() };
}

async function startFloor(answerBytes: number, children: ChildProcess[]): Promise<number> {
  const floor = fork(floorFile, [String(answerBytes)], { stdio: 'inherit' });
  children.push(floor);
  const [port] = (await once(floor, 'message')) as [number];
  return port;
}

async function call(port: number, token: string, path: string, body: unknown): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
  return text;
}

await main();
