// Sends requests on open connections, one at a time on each, and measures the answers. Bare sockets that read
// into a buffer of their own: the less the generator costs, the more of the machine is left to what is measured.
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
const connectMilliseconds = 10_000;
/** A server that refuses connections is not asked in a tight loop. */
const reconnectMilliseconds = 50;

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
  while (performance.now() < run.until) {
    if (connection === undefined) {
      await new Promise((resolve) => setTimeout(resolve, reconnectMilliseconds));
      connection = await openConnection(run);
    }
    await connection?.exchange();
    connection = undefined;
  }
  connection?.socket.destroy();
}

interface Connection {
  readonly socket: Socket;
  /** Sends request after request; resolves when the time is over or the connection is. */
  exchange(): Promise<void>;
}

async function openConnection(run: Run): Promise<Connection | undefined> {
  const { host, port, tls = false } = run.load.target;
  const reader = createAnswerReader();
  let sent = 0;
  let waiting = false;
  let end: () => void = () => undefined;
  const fail = (reason: string) => {
    if (waiting || reason !== 'closed') run.errors.set(reason, (run.errors.get(reason) ?? 0) + 1);
    waiting = false;
    socket.destroy();
    end();
  };
  const send = () => {
    waiting = true;
    sent = performance.now();
    socket.write(run.load.next());
  };
  const callback = (bytes: number, buffer: Uint8Array): boolean => {
    run.received += bytes;
    let status: number | undefined;
    try {
      status = reader.read((buffer as Buffer).subarray(0, bytes));
    } catch {
      fail('not HTTP');
      return true;
    }
    if (status === undefined) return true;
    const now = performance.now();
    waiting = false;
    run.answers += 1;
    if (status === 200) run.latencies.record(Math.max(1, Math.round((now - sent) * 1000)));
    else run.errors.set(String(status), (run.errors.get(String(status)) ?? 0) + 1);
    if (now < run.until) send();
    else socket.destroy();
    return true;
  };
  const onread = { buffer: Buffer.allocUnsafe(readBytes), callback };
  // Node's types do not know that TLS takes `onread` too.
  const secure = { host, port, servername: isIP(host) === 0 ? host : '', onread } as ConnectionOptions;
  const socket: Socket = tls ? connectTls(secure) : connect({ host, port, noDelay: true, onread });
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  socket.once('close', () => fail('closed')).once('error', (error) => fail(codeOf(error)));
  socket.setTimeout(connectMilliseconds, () => fail('no answer in 10 s'));
  const opened = new Promise<boolean>((resolve) => {
    socket.once(tls ? 'secureConnect' : 'connect', () => resolve(true));
    void ended.then(() => resolve(false));
  });
  if (!(await opened)) return undefined;
  return {
    socket,
    exchange() {
      send();
      return ended;
    },
  };
}

function codeOf(error: Error): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : 'connection';
}
