// What: POST /v1/keys/{key}/decrypt of a ciphertext of 1 KiB over HTTP/1.1: authenticated, authorized, decrypted
// by SoftHSM, its commitment checked, audited durably before the answer. One service process; connections kept
// open, one request at a time on each.
// Leaves out: TLS, a network, hardware HSMs, several service processes, more than one key and ciphertext
// (bench/growth has many), ciphertexts that are refused.
// Floor: as in encrypt.bench.ts, with this exchange's bytes.
// Run: node bench/envelope/decrypt.bench.ts [--directory DIR]
import { randomBytes } from 'node:crypto';
import { bench } from '../support/bench.ts';
import { compareOverHttp, roundMilliseconds } from '../support/over-http.ts';
import { rounds } from '../support/rounds.ts';
import { initialize, startService } from '../support/service.ts';

const plaintextBytes = 1024;

await bench('envelope/decrypt', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const plaintext = randomBytes(plaintextBytes).toString('base64');
  const context = { table: 'users', row: '42' };
  const path = '/v1/keys/bench/encrypt';
  const { ciphertext } = await service.call<{ ciphertext: string }>('POST', path, { plaintext, context });
  const rows = await compareOverHttp(bench, service, {
    what: `decrypt ${plaintextBytes} B`,
    exchange: { path: '/v1/keys/bench/decrypt', body: JSON.stringify({ ciphertext, context }) },
  });
  return { rows, setting: { plaintextBytes, rounds, roundMilliseconds } };
});
