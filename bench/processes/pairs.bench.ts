// What: 1 KiB encryptions over HTTP by pairs of a service's process and a client, each pair pinned to a core of its own:
// two pairs, their processes behind one supervisor, against one pair without, and against two services that share
// nothing but the machine: what it gives two cores. CPU of the service, supervisor included, for an operation.
// Leaves out: TLS, a network, new connections (each is handed on once, by the supervisor), other databases than SQLite.
// The supervisor hands connections out in turn, so half of what a client asks is answered on the other core.
// Floor: one pair, measured in the same run. Needs Linux and two cores (taskset).
// Run: node bench/processes/pairs.bench.ts [--directory DIR]
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { LoadResult } from '../load/generate.ts';
import { type Bench, bench } from '../support/bench.ts';
import { requestBytes } from '../support/over-http.ts';
import { medianRound } from '../support/rounds.ts';
import { type BenchService, initialize, startService } from '../support/service.ts';
import { costOf } from '../support/usage.ts';
import type { ClientLoad } from './client-process.ts';

const connections = 32;
const milliseconds = 3_000;

/** Each thread of a process, also those to come. */
function pin(pid: number, core: number): void {
  execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', String(core), String(pid)]);
}

function childrenOf(pid: number): number[] {
  const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return listed === '' ? [] : listed.split(' ').map(Number);
}

/** A client on a core. */
function startClient(bench: Bench, core: number) {
  const client = fork(fileURLToPath(new URL('client-process.ts', import.meta.url)));
  bench.atEnd(() => client.kill('SIGKILL'));
  pin(client.pid ?? 0, core);
  return async (load: ClientLoad): Promise<LoadResult> => {
    client.send(load);
    const [result] = (await once(client, 'message')) as [LoadResult];
    return result;
  };
}

/** Waits until all processes serve. */
async function started(service: BenchService, processes: number): Promise<void> {
  const running = new RegExp(`^stathera_processes_running ${processes}$`, 'm');
  while (!running.test(await service.call<string>('GET', '/metrics'))) await delay(100);
}

/** A service whose processes, and as many clients, are pinned a core each. */
async function startPairs(bench: Bench, pairs: number, firstCore = 0) {
  const env = { STATHERA_PROCESSES: String(pairs) };
  const service = await startService(bench, await initialize(bench), env);
  if (pairs > 1) await started(service, pairs);
  const servers = pairs > 1 ? childrenOf(service.pid) : [service.pid];
  for (const [index, pid] of servers.entries()) pin(pid, firstCore + index);
  const clients = servers.map((_, index) => startClient(bench, firstCore + index));
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const body = JSON.stringify({ plaintext: Buffer.alloc(1024, 7).toString('base64') });
  const request = requestBytes(service, { path: '/v1/keys/bench/encrypt', body }).toString('base64');
  const load = async (durationMilliseconds: number) => {
    const results = await Promise.all(
      clients.map((client) =>
        client({ port: service.port, connections, milliseconds: durationMilliseconds, request }),
      ),
    );
    const sum = (of: (result: LoadResult) => number) => results.reduce((total, one) => total + of(one), 0);
    return {
      operations: sum(({ operations }) => operations),
      rate: sum(({ rate }) => rate),
      p50Ms: Math.max(...results.map(({ p50Ms }) => p50Ms)),
      p99Ms: Math.max(...results.map(({ p99Ms }) => p99Ms)),
    };
  };
  await load(milliseconds / 2);
  const pids = pairs > 1 ? [service.pid, ...servers] : servers;
  return () => costOf(pids, () => load(milliseconds));
}

await bench('processes/pairs', async (bench) => {
  bench.progress('starting one pair and two');
  const one = await startPairs(bench, 1);
  const another = await startPairs(bench, 1, 1);
  const two = await startPairs(bench, 2);
  bench.progress('one pair and two in turns');
  let single = await one();
  const row = await medianRound(async () => {
    single = await one();
    const apart = await Promise.all([one(), another()]);
    const both = await two();
    const cost = (both.cpuMicros ?? 0) / (single.cpuMicros ?? 1);
    const apartRate = apart[0].rate + apart[1].rate;
    const apartMicros = ((apart[0].cpuMicros ?? 0) + (apart[1].cpuMicros ?? 0)) / 2;
    return { ...both, floor: single.rate, cost, apartRate, apartMicros };
  });
  return {
    rows: [
      { what: 'one pair', rate: row.floor, cpuMicros: single.cpuMicros, mainMicros: single.mainMicros },
      { what: 'two services apart', rate: row.apartRate, cpuMicros: row.apartMicros },
      { what: 'two pairs', ...row, targetRatio: 1.7 },
    ],
    figures: [
      { what: 'CPU of an operation, two pairs over one', value: row.cost, unit: 'times', targetBelow: 1.15 },
      { what: 'rate of two pairs over two services apart', value: row.rate / row.apartRate, unit: 'times' },
    ],
    setting: { connections, milliseconds },
  };
});
