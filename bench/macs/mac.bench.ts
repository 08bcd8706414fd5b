// What: POST /v1/keys/{key}/mac over HTTP/1.1, HMAC-SHA-256 of 1 KiB: authenticated, authorized, made inside SoftHSM,
// audited durably before the answer; then verify-mac of the same, which makes the MAC again and compares. One service
// process; connections kept open, one request at a time on each.
// Leaves out: TLS, a network, hardware HSMs, several service processes, more than one key, MACs that do not hold.
// Floor: as in ../envelope/encrypt.bench.ts, with these exchanges' bytes.
// Run: node bench/macs/mac.bench.ts [--directory DIR]
import { bench } from '../support/bench.ts';
import { compareOverHttp, roundMilliseconds } from '../support/over-http.ts';
import { rounds } from '../support/rounds.ts';
import { initialize, startService } from '../support/service.ts';

const messageBytes = 1024;

await bench('macs/mac', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  await service.call('POST', '/v1/keys', { name: 'bench', purpose: 'mac' });
  const message = Buffer.alloc(messageBytes, 7).toString('base64');
  const { mac } = (await service.call('POST', '/v1/keys/bench/mac', { message })) as { mac: string };
  const rows = [
    ...(await compareOverHttp(bench, service, {
      what: `HMAC-SHA-256 of ${messageBytes} B`,
      exchange: { path: '/v1/keys/bench/mac', body: JSON.stringify({ message }) },
    })),
    ...(await compareOverHttp(bench, service, {
      what: 'verified',
      exchange: { path: '/v1/keys/bench/verify-mac', body: JSON.stringify({ message, mac }) },
      connectionCounts: [64],
    })),
  ];
  return { rows, setting: { messageBytes, rounds, roundMilliseconds } };
});
