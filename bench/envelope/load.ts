// Sends one request over and over on open connections, one at a time on each, and measures each answer.
// Bare sockets: the less the generator costs, the more of the machine is left to what is measured.
// Takes jobs from the process that forked it and sends their results back.
import { connect, type Socket } from 'node:net';

export interface LoadJob {
  readonly port: number;
  readonly path: string;
  readonly token: string;
  readonly body: string;
  readonly connections: number;
  readonly ms: number;
}

export interface LoadResult {
  /** Answers a second. */
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

function requestBytes({ port, path, token, body }: LoadJob): Buffer {
  const head = [
    `POST ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    `Authorization: Bearer ${token}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`);
}

/** Bytes of the whole answer once its head is there. */
function answerBytes(received: Buffer): number | undefined {
  const end = received.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = received.toString('latin1', 0, end);
  if (!head.startsWith('HTTP/1.1 200 ')) throw new Error(received.toString('latin1', 0, 400));
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  if (length === undefined) throw new Error('an answer without Content-Length');
  return end + 4 + Number(length);
}

function exchange(socket: Socket, request: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    const finish = (error?: Error) => {
      socket.off('data', take).off('close', closed).off('error', finish);
      if (error) reject(error);
      else resolve();
    };
    const closed = () => finish(new Error('the connection was closed'));
    function take(chunk: Buffer): void {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      try {
        const expected = answerBytes(received);
        if (expected !== undefined && received.length >= expected) finish();
      } catch (error) {
        finish(error as Error);
      }
    }
    socket.on('data', take).once('close', closed).once('error', finish);
    socket.write(request);
  });
}

async function run(job: LoadJob): Promise<LoadResult> {
  const request = requestBytes(job);
  const latencies: number[] = [];
  const start = performance.now();
  async function client(): Promise<void> {
    const socket = connect({ port: job.port, host: '127.0.0.1', noDelay: true });
    try {
      for (let sent = performance.now(); sent - start < job.ms; sent = performance.now()) {
        await exchange(socket, request);
        latencies.push(performance.now() - sent);
      }
    } finally {
      socket.destroy();
    }
  }
  await Promise.all(Array.from({ length: job.connections }, client));
  const seconds = (performance.now() - start) / 1000;
  const sorted = latencies.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.floor(sorted.length * part)] ?? Number.NaN;
  return { rate: latencies.length / seconds, p50Ms: at(0.5), p99Ms: at(0.99) };
}

process.on('message', (job: LoadJob) => {
  run(job).then(
    (result) => process.send?.(result),
    (error: Error) => process.send?.({ error: error.message }),
  );
});
