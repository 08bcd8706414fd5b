// What: POST /v1/keys/{key}/encapsulate, …/decapsulate with a confirmation, …/seal and …/open of 1 KiB with an X-Wing
// key over HTTP/1.1: authenticated, authorized, the seed opened by SoftHSM where the private half is used, audited
// durably before the answer. One service process; 64 connections kept open, one request at a time on each.
// Leaves out: TLS, a network, hardware HSMs, several service processes, more than one key.
// Floor: a bare node:http server that reads the same request and sends the same headers and as many bytes, in the same
// run, rounds taking turns. Service, floor and load generator are processes of their own and share this machine's cores.
// Run: node bench/exchange/http.bench.ts [--directory DIR]
import { randomBytes } from 'node:crypto';
import { bench } from '../support/bench.ts';
import { compareOverHttp, roundMilliseconds } from '../support/over-http.ts';
import type { RateRow } from '../support/report.ts';
import { rounds } from '../support/rounds.ts';
import { initialize, startService } from '../support/service.ts';

type Answered = Readonly<Record<string, string>>;

const plaintextBytes = 1024;
const connectionCounts = [64];

await bench('exchange/http', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  await service.call('POST', '/v1/keys', { name: 'pair', algorithm: 'x-wing' });
  const at = (operation: string) => `/v1/keys/pair/${operation}`;
  const plaintext = randomBytes(plaintextBytes).toString('base64');
  const made = await service.call<Answered>('POST', at('encapsulate'), {});
  const sealed = await service.call<Answered>('POST', at('seal'), { plaintext });
  const { ciphertext, confirmation } = made;
  const subjects: [string, object, number?][] = [
    ['encapsulate', {}, 0.35],
    ['decapsulate', { ciphertext, confirmation }, 0.35],
    ['seal', { plaintext }],
    ['open', { enc: sealed['enc'], ciphertext: sealed['ciphertext'] }],
  ];
  const rows: RateRow[] = [];
  for (const [operation, body, target] of subjects) {
    const exchange = { path: at(operation), body: JSON.stringify(body) };
    const targetRatios = target === undefined ? {} : { 64: target };
    const compared = { what: `X-Wing, ${operation}`, exchange, connectionCounts, targetRatios };
    rows.push(...(await compareOverHttp(bench, service, compared)));
  }
  return { rows, setting: { plaintextBytes, rounds, roundMilliseconds } };
});
