// What: documents of 10 fields over HTTP/1.1, 1,000 a request: 6 randomized, 4 deterministic, a blind index; sealed by
// POST /v1/fields/encrypt, opened by decrypt; authenticated, authorized, audited durably. A value counted.
// Leaves out: TLS, a network, several requests at once, the first derivation of the keys in the HSM, formats.
// Floor: the same values by the same code in this process, keys ready, without JSON texts or HTTP.
// Run: node bench/fields/http.bench.ts [--directory DIR]
import { copyExact } from '../../src/core/exact-json.ts';
import { compileSchema } from '../../src/crypto/fields/compile.ts';
import { decryptItems, encryptItems } from '../../src/crypto/fields/documents.ts';
import type { Item } from '../../src/crypto/fields/items.ts';
import { nodeCiphers as ciphers } from '../../src/crypto/fields/node-ciphers.ts';
import { bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';
import { initialize, startService } from '../support/service.ts';
import { benchDefinition, benchKeyring, documentsOf } from './people.ts';

const documents = 1_000;
const values = documents * 10;
const requests = 3;

await bench('fields/http', async (bench) => {
  const service = await startService(bench, await initialize(bench));
  await service.call('POST', '/v1/keys', { name: 'people', purpose: 'fields' });
  await service.call('POST', '/v1/fields/schemas', { name: 'people', ...benchDefinition });
  const tools = { ciphers, schema: compileSchema('018f0000-0000-7000-8000-0000000000bb', benchDefinition) };
  const keyring = benchKeyring();
  const itemsOf = (list: readonly unknown[]): Item[] =>
    list.map((document) => ({ document: copyExact(document) }));

  async function remotely(verb: string, list: readonly unknown[]): Promise<unknown[]> {
    const body = { schema: 'people', documents: list.map((document) => ({ document })) };
    const answer = (await service.call('POST', `/v1/fields/${verb}`, body)) as {
      results: { document: unknown }[];
    };
    return answer.results.map(({ document }) => document);
  }

  const plain = documentsOf(documents);
  const sealedThere = await remotely('encrypt', plain);
  const sealedHere = itemsOf(plain);
  encryptItems(tools, sealedHere).run(keyring);
  const here = sealedHere.map(({ document }) => document);

  async function rateOf(work: () => Promise<unknown>): Promise<number> {
    const start = performance.now();
    for (let count = 0; count < requests; count += 1) await work();
    return (values * requests * 1000) / (performance.now() - start);
  }
  const rows: RateRow[] = [];
  for (const { what, work, floor } of [
    {
      what: 'sealed',
      work: () => remotely('encrypt', plain),
      floor: async () => encryptItems(tools, itemsOf(plain)).run(keyring),
    },
    {
      what: 'opened',
      work: () => remotely('decrypt', sealedThere),
      floor: async () => decryptItems(tools, () => true, itemsOf(here)).run(keyring),
    },
  ]) {
    bench.progress(what);
    for (const warm of [work, floor]) await rateOf(warm);
    const measured = await medianRound(async () => ({
      floor: await rateOf(floor),
      rate: await rateOf(work),
    }));
    rows.push({ what, ...measured, targetRatio: 0.5 });
  }
  return { rows, setting: { documents, rounds, requests } };
});
