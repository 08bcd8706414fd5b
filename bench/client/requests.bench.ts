// What: client.encrypt of 1 KiB over HTTP, by node:http and by fetch, one call at a time and 16; the CPU time is this
// process's, the client's. Encryption, answers checked against their requests, time limits and request ids included.
// Leaves out: TLS, a network, retries, other operations, browsers. The service is the real one and shares the cores.
// Floor: a bare node:http loop with a kept-alive agent to the same service: JSON and base64 by Node's own functions,
// nothing checked.
// Run: node bench/client/requests.bench.ts [--directory DIR]
import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import { createClient as createFetchClient } from '../../src/client/index.ts';
import { createClient } from '../../src/client/node/index.ts';
import { bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';
import { type BenchService, initialize, startService } from '../support/service.ts';
import { costOf } from '../support/usage.ts';

const plaintextBytes = 1024;
const roundMilliseconds = 800;
const context = { table: 'users', row: '42' };

/** Calls over and over, so many at once. */
async function calls(atOnce: number, call: () => Promise<unknown>, milliseconds = roundMilliseconds) {
  let operations = 0;
  const start = performance.now();
  const loop = async () => {
    while (performance.now() - start < milliseconds) {
      await call();
      operations += 1;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, loop));
  return { operations, rate: (operations * 1000) / (performance.now() - start) };
}

function bareLoop({ port, token }: BenchService, plaintext: Uint8Array): () => Promise<unknown> {
  const agent = new Agent({ keepAlive: true, maxSockets: 128, scheduling: 'lifo' });
  return () =>
    new Promise((resolve, reject) => {
      const body = JSON.stringify({ plaintext: Buffer.from(plaintext).toString('base64'), context });
      const sent = request({
        ...{ host: '127.0.0.1', port, agent, method: 'POST', path: '/v1/keys/bench/encrypt' },
        headers: {
          ...{ authorization: `Bearer ${token}`, 'content-type': 'application/json' },
          'content-length': Buffer.byteLength(body),
        },
      });
      sent.on('error', reject);
      sent.once('response', (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.once('end', () => {
          const { ciphertext } = JSON.parse(Buffer.concat(chunks).toString()) as { ciphertext?: string };
          if (ciphertext === undefined) reject(new Error(`status ${answer.statusCode}`));
          else resolve(Buffer.from(ciphertext, 'base64'));
        });
      });
      sent.end(body);
    });
}

await bench('client/requests', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  await service.call('POST', '/v1/keys', { name: 'bench' });
  const plaintext = randomBytes(plaintextBytes);
  const options = { url: `http://127.0.0.1:${service.port}`, credentials: service.token };
  const floor = bareLoop(service, plaintext);
  const rows: RateRow[] = [];
  for (const [how, client] of [
    ['node:http', createClient(options)],
    ['fetch', createFetchClient(options)],
  ] as const) {
    const encrypt = () => client.encrypt({ key: 'bench', plaintext, context });
    for (const atOnce of [1, 16]) {
      const what = `encrypt ${plaintextBytes} B by ${how}, ${atOnce} at once`;
      bench.progress(what);
      await calls(atOnce, floor, roundMilliseconds / 2);
      await calls(atOnce, encrypt, roundMilliseconds / 2);
      const measured = await medianRound(async () => {
        const bare = await costOf(process.pid, () => calls(atOnce, floor));
        const own = await costOf(process.pid, () => calls(atOnce, encrypt));
        return { ...own, floor: bare.rate, floorMicros: bare.mainMicros };
      });
      rows.push({ what, ...measured });
    }
  }
  return { rows, setting: { plaintextBytes, rounds, roundMilliseconds } };
});
