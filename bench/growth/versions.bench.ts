// What: POST /v1/keys/{key}/decrypt of 32 B over HTTP/1.1, 64 connections, of ciphertexts of one key with 1, 100 and
// 10,000 versions; versions chosen by Zipf's law (exponent 1), the newest most often, and, for comparison, always
// the newest and uniformly. A service for each number of versions, default settings: 10,000 versions in the token.
// Leaves out: TLS, a network, hardware HSMs, encryption, making the versions, and their audit records: the databases
// are seeded (support/seed-process.ts).
// Floor: the same with one version, in the same run, rounds taking turns.
// Run: node bench/growth/versions.bench.ts [--directory DIR]
import { type Bench, bench } from '../support/bench.ts';
import type { Figure, RateRow } from '../support/report.ts';
import { rounds } from '../support/rounds.ts';
import { seededRandom, uniform, zipf } from '../support/sampling.ts';
import { seed } from '../support/seed.ts';
import { initialize, startService } from '../support/service.ts';
import { compareSpreads, decryptions, type Spread, spreadSetting } from '../support/spread.ts';

const randomSeed = 20_261_124;

async function prepare(bench: Bench, versions: number) {
  bench.progress(`making ${versions} versions`);
  const directory = await initialize(bench);
  const seeded = await seed(bench, directory, { keys: 1, versions });
  const service = await startService(bench, directory);
  return { service, requests: await decryptions(bench, service, seeded.toReversed()) };
}

/** Which version comes next, 0 the newest. */
const laws = {
  newest: () => () => 0,
  Zipf: zipf,
  uniform,
} satisfies Record<string, (size: number, random: () => number) => () => number>;

await bench('growth/versions', async (bench) => {
  const few: Spread = { what: 'decrypt, 1 version', ...(await prepare(bench, 1)), pick: () => 0 };
  const figures: Figure[] = [];
  const rows: RateRow[] = [];
  for (const versions of [100, 10_000]) {
    const place = await prepare(bench, versions);
    for (const law of versions === 100 ? (['Zipf'] as const) : (['newest', 'Zipf', 'uniform'] as const)) {
      const pick = laws[law](versions, seededRandom(randomSeed));
      const { row, misses } = await compareSpreads(bench, {
        few,
        many: { what: `decrypt, ${versions} versions, ${law}`, ...place, pick },
        targetRatio: law === 'uniform' ? undefined : 0.9,
      });
      rows.push(row);
      figures.push(misses);
    }
    await place.service.stop();
  }
  return { rows, figures, setting: { ...spreadSetting, rounds, randomSeed } };
});
