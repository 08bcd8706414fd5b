// Sends requests by the clock, whether the answers come or not: a server that is too slow gets no rest. A request that
// finds no connection free opens one. Takes the load from the process that forked it and sends back what came of it.
import { connect } from 'node:net';
import { createHistogram } from 'node:perf_hooks';
import { createAnswerReader } from '../load/answer.ts';

export interface OpenLoad {
  readonly port: number;
  /** Head and body. */
  readonly request: string;
  /** Requests a second. */
  readonly rate: number;
  /** What comes of the first of them is not counted: the queue must fill. */
  readonly warmUpMilliseconds: number;
  readonly milliseconds: number;
}

export interface OpenResult {
  /** Of answers of status 200: how many a second, and the time since they were due. */
  readonly goodput: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Requests a second, sent in the time that counts. */
  readonly sent: number;
  /** Other answers by status, in the time that counts. */
  readonly others: Readonly<Record<string, number>>;
  readonly connections: number;
  /** All answers, of status 200 and of others. */
  readonly answered: number;
  readonly refused: number;
}

const tickMilliseconds = 1;
const connectionLimit = 1_900;
const settleMilliseconds = 1_000;

interface Connection {
  /** @param due when it should have been sent */
  send(due: number): void;
}

function run(load: OpenLoad): Promise<OpenResult> {
  const request = Buffer.from(load.request);
  const latencies = createHistogram({ lowest: 1, highest: 60_000_000, figures: 3 });
  const others = new Map<string, number>();
  const idle: Connection[] = [];
  let connections = 0;
  const begun = performance.now();
  const countedFrom = begun + load.warmUpMilliseconds;
  const countedUntil = countedFrom + load.milliseconds;
  const counts = (at: number) => at >= countedFrom && at < countedUntil;
  let good = 0;
  let sent = 0;
  let answered = 0;
  let refused = 0;

  function open(): Connection {
    connections += 1;
    const reader = createAnswerReader();
    let due = 0;
    const socket = connect({ port: load.port, host: '127.0.0.1', noDelay: true });
    socket.on('error', () => {}).on('close', () => (connections -= 1));
    const connection = {
      send(at: number): void {
        due = at;
        socket.write(request);
      },
    };
    socket.on('data', (chunk) => {
      const status = reader.read(chunk);
      if (status === undefined) return;
      const now = performance.now();
      if (status === 200) answered += 1;
      else refused += 1;
      if (counts(now)) {
        if (status === 200) {
          good += 1;
          latencies.record(Math.max(1, Math.round((now - due) * 1_000)));
        } else others.set(String(status), (others.get(String(status)) ?? 0) + 1);
      }
      idle.push(connection);
    });
    return connection;
  }

  return new Promise((resolve) => {
    let next = 0;
    const ticker = setInterval(() => {
      const now = performance.now();
      for (; begun + (next * 1_000) / load.rate <= Math.min(now, countedUntil); next += 1) {
        const due = begun + (next * 1_000) / load.rate;
        const connection = idle.pop() ?? (connections < connectionLimit ? open() : undefined);
        connection?.send(due);
        if (connection !== undefined && counts(due)) sent += 1;
      }
      if (now < countedUntil + settleMilliseconds) return;
      clearInterval(ticker);
      const seconds = load.milliseconds / 1_000;
      resolve({
        ...{ goodput: good / seconds, sent: sent / seconds, others: Object.fromEntries(others), connections },
        ...{ answered, refused },
        ...{ p50Ms: latencies.percentile(50) / 1_000, p99Ms: latencies.percentile(99) / 1_000 },
      });
    }, tickMilliseconds);
  });
}

process.once('message', (load: OpenLoad) => {
  void run(load).then((result) => process.send?.(result, () => process.exit()));
});
