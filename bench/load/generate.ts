// Sends requests on open connections, one at a time on each, and measures the answers. Bare sockets that read
// into a buffer of their own: the less the generator costs, the more of the machine is left to what is measured.
import { once } from 'node:events';
import { connect, isIP, type Socket } from 'node:net';
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { createAnswerReader } from './answer.ts';

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly tls?: boolean;
}

export interface Load {
  readonly target: Target;
  readonly connections: number;
  readonly milliseconds: number;
  /** The bytes to send next, head and body; called for each request. */
  next(): Buffer;
}

export interface LoadResult {
  /** Answers of status 200, those alone are in the rate and the latencies. */
  readonly operations: number;
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Other answers by status, and connections that failed by their error's code. */
  readonly errors: Readonly<Record<string, number>>;
  /** Bytes received for an answer, on average. */
  readonly answerBytes: number;
  /** CPU time of this process for one answer. */
  readonly generatorMicros: number;
}

const readBytes = 64 * 1024;
const silenceMilliseconds = 10_000;
/** A server that fails is not asked in a tight loop. */
const afterFailureMilliseconds = 50;

/** One measurement: what is under way and what came of it. */
interface Run {
  readonly load: Load;
  readonly latencies: RecordableHistogram;
  readonly errors: Map<string, number>;
  /** When to send no more; undefined until all connections are open. */
  until: number;
  received: number;
  answers: number;
}

export async function generate(load: Load): Promise<LoadResult> {
  // Microseconds, to a minute, with three digits.
  const latencies = createHistogram({ lowest: 1, highest: 60_000_000, figures: 3 });
  const run: Run = { load, latencies, errors: new Map(), until: 0, received: 0, answers: 0 };
  // Opened before the clock runs; one that cannot be is counted, and tried again while it runs.
  const open = await Promise.all(Array.from({ length: load.connections }, () => openConnection(run)));
  const start = performance.now();
  const cpu = process.cpuUsage();
  run.until = start + load.milliseconds;
  await Promise.all(open.map((connection) => keepBusy(run, connection)));
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return {
    operations: latencies.count,
    rate: latencies.count / seconds,
    p50Ms: latencies.percentile(50) / 1000,
    p99Ms: latencies.percentile(99) / 1000,
    errors: Object.fromEntries(run.errors),
    answerBytes: run.received / run.answers,
    generatorMicros: (user + system) / run.answers,
  };
}

/** Sends on one connection until the time is over; a connection that ends is replaced. */
async function keepBusy(run: Run, first: Connection | undefined): Promise<void> {
  let connection = first;
  for (; performance.now() < run.until; connection = await openConnection(run)) {
    const inOrder = (await connection?.exchange()) ?? false;
    if (!inOrder) await new Promise((resolve) => setTimeout(resolve, afterFailureMilliseconds));
  }
  connection?.socket.destroy();
}

interface Connection {
  readonly socket: Socket;
  /** Sends request after request until the time is over or the connection is. @returns whether nothing failed */
  exchange(): Promise<boolean>;
}

/** @returns undefined when it could not be opened, which is counted */
async function openConnection(run: Run): Promise<Connection | undefined> {
  const reader = createAnswerReader();
  const ended = Promise.withResolvers<boolean>();
  /** When the request was sent that is not answered yet. */
  let sent: number | undefined;

  function send(): void {
    sent = performance.now();
    socket.write(run.load.next());
  }

  function end(failure?: string): void {
    if (failure !== undefined) countError(run, failure);
    sent = undefined;
    socket.destroy();
    ended.resolve(failure === undefined);
  }

  function take(chunk: Buffer): void {
    run.received += chunk.length;
    const status = reader.read(chunk);
    if (status === undefined || sent === undefined) return;
    const now = performance.now();
    countAnswer(run, status, now - sent);
    if (now < run.until && !reader.closes()) send();
    else end();
  }

  const socket = openSocket(run.load.target, (chunk) => {
    try {
      take(chunk);
    } catch {
      end('not HTTP');
    }
  });
  socket.once('close', () => end(sent === undefined ? undefined : 'closed'));
  socket.once('error', (error) => end(codeOf(error)));
  socket.setTimeout(silenceMilliseconds, () => end('no answer in 10 s'));
  const opened = await Promise.race([
    once(socket, run.load.target.tls === true ? 'secureConnect' : 'connect').then(() => true),
    ended.promise.then(() => false),
  ]).catch(() => false);
  if (!opened) return undefined;
  const exchange = () => {
    send();
    return ended.promise;
  };
  return { socket, exchange };
}

function countAnswer(run: Run, status: number, milliseconds: number): void {
  run.answers += 1;
  if (status === 200) run.latencies.record(Math.max(1, Math.round(milliseconds * 1000)));
  else countError(run, String(status));
}

function countError({ errors }: Run, reason: string): void {
  errors.set(reason, (errors.get(reason) ?? 0) + 1);
}

/** @param take gets what arrives, in a buffer that is used again */
function openSocket({ host, port, tls = false }: Target, take: (chunk: Buffer) => void): Socket {
  const buffer = Buffer.allocUnsafe(readBytes);
  const callback = (bytes: number) => {
    take(buffer.subarray(0, bytes));
    return true;
  };
  const onread = { buffer, callback };
  if (!tls) return connect({ host, port, noDelay: true, onread });
  // Node's types do not know that TLS takes `onread` too.
  return connectTls({ host, port, servername: isIP(host) === 0 ? host : '', onread } as ConnectionOptions);
}

function codeOf(error: Error): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : 'connection';
}
