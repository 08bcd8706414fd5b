// What: one service process at full load: 1 KiB encryptions over HTTP/1.1 on 64 connections without pause; then the
// same beside batches of 1,000. How late its event loop's timers are, how much memory it holds, idle and loaded,
// and what an operation costs.
// Leaves out: TLS, a network, hardware HSMs, decryption, more than one key (bench/growth has many, and starts), what
// hours of load do to memory. Timers are looked at every 10 ms: what delays fewer than one in a hundred is not seen.
// Floor: none; the figures stand beside targets.
// Run: node bench/service/load.bench.ts [--directory DIR]
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { bench } from '../support/bench.ts';
import { generateCleanly, requestBytes, targetOf } from '../support/over-http.ts';
import type { Figure, RateRow } from '../support/report.ts';
import { type BenchService, initialize, startService } from '../support/service.ts';
import { costOf, memory } from '../support/usage.ts';

const connections = 64;
const plaintextBytes = 1024;
const idleMilliseconds = 2_000;
const loadMilliseconds = 6_000;
const batchItems = 1_000;

/** Reading begins the measurement anew. */
async function timersLate(service: BenchService, when: string): Promise<Figure[]> {
  const text = await service.call<string>('GET', '/metrics');
  return [50, 99].map((percentile) => {
    const pattern = new RegExp(`^stathera_event_loop_delay_p${percentile}_seconds (\\S+)$`, 'm');
    const value = 1000 * Number(pattern.exec(text)?.[1]);
    const what = `timers late, ${when}, p${percentile}`;
    return { what, value, unit: 'ms', targetBelow: percentile === 99 ? 20 : undefined };
  });
}

function resident(service: BenchService, when: string, targetBelow?: number): Figure[] {
  const used = memory(service.pid);
  if (used === undefined) return [];
  return [
    { what: `resident memory, ${when}`, value: used.residentMiB, unit: 'MiB', targetBelow },
    { what: '  at its highest until then', value: used.peakMiB, unit: 'MiB' },
  ];
}

await bench('service/load', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  const figures: Figure[] = [{ what: 'start', value: service.startMs, unit: 'ms' }];
  await setTimeout(idleMilliseconds);
  figures.push(...resident(service, 'idle', 200));
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const plaintext = () => randomBytes(plaintextBytes).toString('base64');
  const encryption = requestBytes(service, {
    path: '/v1/keys/bench/encrypt',
    body: JSON.stringify({ plaintext: plaintext(), context: { table: 'users', row: '42' } }),
  });
  const item = () => ({ operation: 'encrypt', key: 'bench', plaintext: plaintext() });
  const batch = requestBytes(service, {
    path: '/v1/batch',
    body: JSON.stringify({ operations: Array.from({ length: batchItems }, item) }),
  });
  const load = (request: Buffer, count: number, milliseconds: number) =>
    generateCleanly({ target: targetOf(service), connections: count, milliseconds, next: () => request });
  const rows: RateRow[] = [];
  await load(encryption, connections, loadMilliseconds / 4);

  bench.progress('encryptions');
  await timersLate(service, 'before');
  const alone = await costOf(service.pid, () => load(encryption, connections, loadMilliseconds));
  rows.push({ what: `encrypt ${plaintextBytes} B, ${connections} connections`, ...alone });
  figures.push(...(await timersLate(service, 'encryptions')), ...resident(service, 'after encryptions'));

  bench.progress('encryptions beside batches');
  const [beside, batches] = await Promise.all([
    load(encryption, connections, loadMilliseconds),
    load(batch, 1, loadMilliseconds),
  ]);
  const { rate, p50Ms, p99Ms } = beside;
  rows.push({ what: '  beside batches, one after the other', rate, p50Ms, p99Ms });
  rows.push({ what: `  these batches' items`, rate: batches.rate * batchItems });
  figures.push(...(await timersLate(service, 'batches beside')), ...resident(service, 'after batches'));
  return { rows, figures, setting: { connections, plaintextBytes, batchItems, loadMilliseconds } };
});
