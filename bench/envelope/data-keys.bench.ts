// What: POST /v1/keys/{key}/data-keys over HTTP/1.1, one data key of 32 bytes, in clear and wrapped: authenticated,
// authorized, random and wrapped by SoftHSM (two trips), audited durably before the answer. One service process;
// connections kept open, one request at a time on each.
// Leaves out: TLS, a network, hardware HSMs, several service processes, more than one key, several data keys a
// request, what the caller does with the data key.
// Floor: as in encrypt.bench.ts, with this exchange's bytes.
// Run: node bench/envelope/data-keys.bench.ts [--directory DIR]
import { bench } from '../support/bench.ts';
import { compareOverHttp, roundMilliseconds } from '../support/over-http.ts';
import { rounds } from '../support/rounds.ts';
import { initialize, startService } from '../support/service.ts';

const dataKeyBytes = 32;

await bench('envelope/data-keys', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const rows = await compareOverHttp(bench, service, {
    what: `a data key of ${dataKeyBytes} B`,
    exchange: {
      path: '/v1/keys/bench/data-keys',
      body: JSON.stringify({ bytes: dataKeyBytes, context: { table: 'users', row: '42' }, plaintext: true }),
    },
  });
  return { rows, setting: { dataKeyBytes, rounds, roundMilliseconds } };
});
