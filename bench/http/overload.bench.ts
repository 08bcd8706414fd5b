// What: twice the load that the service sustains, sent by the clock: how many encryptions of 1 KiB of one token are
// still answered a second, and how long they take. What it sustains is the rate of 64 connections without pause.
// Leaves out: TLS, a network, several callers (test/faults/overload.test.ts has two), several service processes.
// Floor: the sustained rate, measured in the same rounds. Target: 0.9 of what is left when all that is too much is
// refused, (s - o r) / (1 - r): s is the sustained rate, o that of all that came to an answer or a refusal, r the cost of
// a refusal over that of an answer, in time of the main thread, measured on a service whose only slot is taken. With
// o = 2 s it is (1 - 2 r) / (1 - r) of s; with r above a half nothing is left, and there is no target. Beside it: what the answers and refusals would cost without overload, over what they did cost; other work on
// the machine does not change that. Services and generators share this machine's cores.
// Run: node bench/http/overload.bench.ts [--directory DIR]
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { generate } from '../load/generate.ts';
import { type Bench, bench } from '../support/bench.ts';
import { generateCleanly, requestBytes, roundMilliseconds, targetOf } from '../support/over-http.ts';
import { medianRound, rounds } from '../support/rounds.ts';
import { type BenchService, initialize, startService } from '../support/service.ts';
import { costOf } from '../support/usage.ts';
import type { OpenLoad, OpenResult } from './open-loop-process.ts';

const plaintextBytes = 1024;
const connections = 64;
const overload = 2;
const warmUpMilliseconds = 1_000;
const openMilliseconds = 3_000;

const path = '/v1/keys/bench/encrypt';

/** One request whose body never comes holds the only slot, for 15 s at most. */
async function takeTheSlot({ port, token }: BenchService): Promise<() => void> {
  const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n`;
  const socket = connect(port, '127.0.0.1').on('error', () => {});
  socket.write(`${head}Content-Length: 100\r\n\r\n`);
  await new Promise((resolve) => setTimeout(resolve, 100));
  return () => socket.destroy();
}

/** Refusals as operations. @throws Error when anything was answered otherwise */
async function refusals(service: BenchService, request: Buffer) {
  const release = await takeTheSlot(service);
  try {
    return await costOf(service.pid, async () => {
      const load = { target: targetOf(service), connections, milliseconds: roundMilliseconds };
      const { operations, errors } = await generate({ ...load, next: () => request });
      const refused = errors['503'] ?? 0;
      if (operations > 0 || Object.keys(errors).length !== 1) {
        throw new Error(`not every request was refused: ${operations}, ${JSON.stringify(errors)}`);
      }
      return { operations: refused };
    });
  } finally {
    release();
  }
}

async function openLoop(bench: Bench, load: OpenLoad): Promise<OpenResult> {
  const child = fork(fileURLToPath(new URL('open-loop-process.ts', import.meta.url)));
  bench.atEnd(() => child.kill('SIGKILL'));
  const answered = once(child, 'message') as Promise<[OpenResult]>;
  child.send(load);
  const [result] = await answered;
  return result;
}

const sumOf = (counts: Readonly<Record<string, number>>) =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

await bench('http/overload', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const full = await startService(bench, await initialize(bench), {
    ...{ STATHERA_MAX_CONCURRENT: '1', STATHERA_MAX_WAITING: '0' },
  });
  const body = JSON.stringify({ plaintext: randomBytes(plaintextBytes).toString('base64') });
  const request = requestBytes(service, { path, body });
  const requestOfFull = requestBytes(full, { path, body });
  const sustained = () =>
    generateCleanly({
      target: targetOf(service),
      connections,
      milliseconds: roundMilliseconds,
      next: () => request,
    });
  await sustained();
  await refusals(full, requestOfFull);

  const row = await medianRound(async () => {
    const answers = await costOf(service.pid, sustained);
    const refused = await refusals(full, requestOfFull);
    const r = (refused.mainMicros ?? 0) / (answers.mainMicros ?? 1);
    const open = await costOf(service.pid, async () => {
      const result = await openLoop(bench, {
        ...{ port: service.port, request: request.toString(), rate: overload * answers.rate },
        ...{ warmUpMilliseconds, milliseconds: openMilliseconds },
      });
      return { ...result, operations: result.answered + result.refused };
    });
    const worth = open.answered + open.refused * r;
    const useful = (worth * (answers.mainMicros ?? 0)) / (open.operations * (open.mainMicros ?? 1));
    const came = open.goodput + sumOf(open.others) / (openMilliseconds / 1_000);
    const bound = (answers.rate - came * r) / (1 - r);
    bench.progress(
      `sustained ${answers.rate.toFixed(0)}/s, r ${r.toFixed(2)} (${refused.mainMicros?.toFixed(0)} of ` +
        `${answers.mainMicros?.toFixed(0)} µs), sent ${open.sent.toFixed(0)}/s, answered ${open.goodput.toFixed(0)}/s, ` +
        `others ${JSON.stringify(open.others)}, ${open.connections} connections, useful ${useful.toFixed(2)}`,
    );
    const { goodput: rate, p50Ms, p99Ms } = open;
    return { rate, floor: answers.rate, p50Ms, p99Ms, r, useful, bound };
  });
  return {
    rows: [
      {
        what: `encrypt ${plaintextBytes} B at twice the sustained load`,
        ...row,
        // Where refusals alone would take all the time, anything answered is more than could be asked for.
        targetRatio: row.bound > 0 ? (0.9 * row.bound) / row.floor : undefined,
      },
    ],
    figures: [
      { what: 'r, a refusal over an answer', value: row.r, unit: '' },
      { what: 'time of answers and refusals by time used', value: row.useful, unit: '' },
      { what: 'what is left beside refusals of that cost', value: row.bound, unit: '/s' },
    ],
    setting: { plaintextBytes, connections, overload, rounds, roundMilliseconds, openMilliseconds },
  };
});
