// What: POST /v1/keys/{key}/encrypt of 1 KiB over HTTP/1.1: authenticated, authorized, encrypted by SoftHSM with
// AES-256-GCM, audited durably before the answer; with 64 connections also by a key of each other algorithm. One
// service process; connections kept open, one request at a time on each.
// Leaves out: TLS, a network, hardware HSMs, several service processes, more than one key.
// Floor: a bare node:http server that reads the same request and sends the same headers and as many bytes, in
// the same run, rounds taking turns. Service, floor and load generator are processes of their own and share this
// machine's cores.
// Run: node bench/envelope/encrypt.bench.ts [--directory DIR]
import { randomBytes } from 'node:crypto';
import { cipherAlgorithms as algorithms } from '../../src/crypto/suites.ts';
import { bench } from '../support/bench.ts';
import { compareOverHttp, roundMilliseconds } from '../support/over-http.ts';
import { rounds } from '../support/rounds.ts';
import { initialize, startService } from '../support/service.ts';

const plaintextBytes = 1024;

await bench('envelope/encrypt', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const body = JSON.stringify({
    plaintext: randomBytes(plaintextBytes).toString('base64'),
    context: { table: 'users', row: '42' },
  });
  const rows = await compareOverHttp(bench, service, {
    what: `encrypt ${plaintextBytes} B`,
    exchange: { path: '/v1/keys/bench/encrypt', body },
    targetRatios: { 64: 0.4 },
  });
  for (const algorithm of algorithms.slice(1)) {
    await service.call('POST', '/v1/keys', { name: algorithm, algorithm });
    const exchange = { path: `/v1/keys/${algorithm}/encrypt`, body };
    const what = `encrypt ${plaintextBytes} B, ${algorithm}`;
    rows.push(...(await compareOverHttp(bench, service, { what, exchange, connectionCounts: [64] })));
  }
  return { rows, setting: { plaintextBytes, rounds, roundMilliseconds } };
});
