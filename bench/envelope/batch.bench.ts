// What: POST /v1/batch of 1,000 encryptions of 1 KiB over HTTP/1.1, on one and on two connections: authenticated,
// each item checked and authorized, encrypted by SoftHSM, all audited durably as one record before the answer.
// Leaves out: TLS, a network, hardware HSMs, several service processes, more than one key, items that fail.
// Floor: the PKCS#11 module called synchronously over as many messages of the same size by one thread of a
// process with a token of its own, in the same run, rounds taking turns: no HTTP, no base64, no audit, and
// messages 32 bytes shorter, since the commitment is the service's. node:crypto over the same messages beside it.
// Run: node bench/envelope/batch.bench.ts [--directory DIR]
import { randomBytes } from 'node:crypto';
import { bench } from '../support/bench.ts';
import { startHsmFloor } from '../support/hsm-floor.ts';
import { generateCleanly, plural, requestBytes, targetOf } from '../support/over-http.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';
import { initialize, startService } from '../support/service.ts';
import { costOf } from '../support/usage.ts';

const plaintextBytes = 1024;
const items = 1_000;
/** The length of the service's own, for a context of one short pair. */
const aadBytes = 140;
const roundMilliseconds = 1_200;

interface Answer {
  readonly results: readonly { readonly status: number }[];
}

await bench('envelope/batch', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const operations = Array.from({ length: items }, (_, row) => ({
    operation: 'encrypt',
    key: 'bench',
    plaintext: randomBytes(plaintextBytes).toString('base64'),
    context: { row: String(row) },
  }));
  const { results } = await service.call<Answer>('POST', '/v1/batch', { operations });
  // A batch answers 200 whatever becomes of its items.
  if (results.filter(({ status }) => status === 200).length !== items) throw new Error('an item failed');
  const request = requestBytes(service, { path: '/v1/batch', body: JSON.stringify({ operations }) });
  const floor = await startHsmFloor(bench);
  const rows: RateRow[] = [];
  for (const connections of [1, 2]) {
    bench.progress(`batch, ${plural(connections)}`);
    const load = { target: targetOf(service), connections, next: () => request };
    await generateCleanly({ ...load, milliseconds: roundMilliseconds / 2 });
    const { pkcs11, nodeCrypto, ...batch } = await medianRound(async () => {
      const rates = await floor.measure({ plaintextBytes, aadBytes, milliseconds: roundMilliseconds / 2 });
      const { rate, operations, cpuMicros, mainMicros, p50Ms, p99Ms } = await costOf(
        service.pid,
        async () => {
          const result = await generateCleanly({ ...load, milliseconds: roundMilliseconds });
          return { ...result, rate: result.rate * items, operations: result.operations * items };
        },
      );
      return { ...rates, rate, operations, cpuMicros, mainMicros, p50Ms, p99Ms, floor: rates.pkcs11 };
    });
    const what = `items of ${items} × ${plaintextBytes} B, ${plural(connections)}`;
    rows.push({ what, ...batch, targetRatio: 0.5 });
    rows.push({
      what: '  node:crypto beside it',
      rate: nodeCrypto,
      floor: pkcs11,
      ratio: nodeCrypto / pkcs11,
    });
  }
  return { rows, setting: { plaintextBytes, items, rounds, roundMilliseconds } };
});
