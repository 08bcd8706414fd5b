// One request over and over against the service and, in turns, against a bare server that moves equal bytes.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { generate, type LoadResult, type Target } from '../load/generate.ts';
import type { Bench } from './bench.ts';
import type { FloorAnswer } from './http-floor-process.ts';
import type { RateRow } from './report.ts';
import { medianRound } from './rounds.ts';
import type { BenchService } from './service.ts';
import { costOf } from './usage.ts';

export const roundMilliseconds = 800;

export interface Exchange {
  readonly path: string;
  readonly body: string;
}

/** The bytes of one request, head and body. */
export function requestBytes({ port, token }: BenchService, { path, body }: Exchange): Buffer {
  const head = [
    `POST ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    `Authorization: Bearer ${token}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`);
}

export function targetOf({ port }: { readonly port: number }): Target {
  return { host: '127.0.0.1', port };
}

/** A measurement that only successes make. @throws Error when anything failed */
export async function generateCleanly(load: Parameters<typeof generate>[0]): Promise<LoadResult> {
  const result = await generate(load);
  if (Object.keys(result.errors).length > 0 || result.operations === 0) {
    throw new Error(`not every request succeeded: ${JSON.stringify(result.errors)}`);
  }
  return result;
}

/** @returns a row for each number of connections: of its rounds, the one of the median ratio */
export async function compareOverHttp(
  bench: Bench,
  service: BenchService,
  {
    what,
    exchange,
    connectionCounts = [1, 16, 64],
    targetRatios = {},
  }: {
    readonly what: string;
    readonly exchange: Exchange;
    readonly connectionCounts?: readonly number[];
    /** By number of connections. */
    readonly targetRatios?: Readonly<Record<number, number>>;
  },
): Promise<RateRow[]> {
  const floorPort = await startFloor(bench, service, exchange);
  const request = requestBytes(service, exchange);
  const load = (port: number, connections: number, milliseconds: number) =>
    generateCleanly({ target: targetOf({ port }), connections, milliseconds, next: () => request });
  const rows: RateRow[] = [];
  for (const connections of connectionCounts) {
    bench.progress(`${what}, ${plural(connections)}`);
    await load(floorPort, connections, roundMilliseconds / 4);
    await load(service.port, connections, roundMilliseconds / 2);
    const row = await medianRound(async () => {
      const floor = await load(floorPort, connections, roundMilliseconds);
      const measured = await costOf(service.pid, () => load(service.port, connections, roundMilliseconds));
      // Dates and request ids have one length: what differs is a header more or less.
      if (Math.abs(floor.answerBytes - measured.answerBytes) > 16) {
        throw new Error(`the floor moves ${floor.answerBytes} bytes, not ${measured.answerBytes}`);
      }
      return { ...measured, floor: floor.rate };
    });
    rows.push({ what: `${what}, ${plural(connections)}`, ...row, targetRatio: targetRatios[connections] });
  }
  return rows;
}

export function plural(connections: number): string {
  return `${connections} ${connections === 1 ? 'connection' : 'connections'}`;
}

/** Headers node:http sends by itself. */
const ownHeaders = new Set(['connection', 'date', 'keep-alive']);

/** @returns the port of a server that answers what the service answers to this request */
async function startFloor(bench: Bench, service: BenchService, { path, body }: Exchange): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${service.port}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${service.token}`, 'content-type': 'application/json' },
    body,
  });
  const bodyBytes = (await answer.arrayBuffer()).byteLength;
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status}`);
  const headers = [...answer.headers].filter(([name]) => !ownHeaders.has(name)).flat();
  const floor = fork(fileURLToPath(new URL('http-floor-process.ts', import.meta.url)));
  bench.atEnd(() => floor.kill('SIGKILL'));
  floor.send({ headers, bodyBytes } satisfies FloorAnswer);
  const [port] = (await once(floor, 'message')) as [number];
  return port;
}
