// What: POST /v1/keys/{key}/decrypt of 32 B over HTTP/1.1, 64 connections, over 10, 1,000 and 10,000 keys, with
// --full 100,000; keys chosen by Zipf's law (exponent 1) and, for comparison, uniformly. A service for each number
// of keys, with the default settings: 10,000 keys in the token, 50,000 in memory. Then how long each takes to start.
// Leaves out: TLS, a network, hardware HSMs, encryption, making the keys, and their audit records: the databases are
// seeded (support/seed-process.ts). A start finds the files in the system's cache, and a log of a few records.
// Floor: the same over 10 keys by Zipf's law, in the same run, rounds taking turns.
// Run: node bench/growth/keys.bench.ts [--full] [--directory DIR]
import { type Bench, bench } from '../support/bench.ts';
import type { Figure, RateRow } from '../support/report.ts';
import { rounds } from '../support/rounds.ts';
import { seededRandom, shuffled, uniform, zipf } from '../support/sampling.ts';
import { seed } from '../support/seed.ts';
import { type BenchService, initialize, startService } from '../support/service.ts';
import { compareSpreads, decryptions, type Spread, spreadSetting } from '../support/spread.ts';
import { memory } from '../support/usage.ts';

const randomSeed = 20_261_124;
const starts = 3;

interface Place {
  readonly keys: number;
  readonly directory: string;
  readonly service: BenchService;
  readonly requests: readonly Buffer[];
  readonly figures: readonly Figure[];
}

async function prepare(bench: Bench, keys: number): Promise<Place> {
  bench.progress(`making ${keys} keys`);
  const directory = await initialize(bench);
  // The most used are not those that were made first.
  const seeded = shuffled(await seed(bench, directory, { keys, versions: 1 }), seededRandom(randomSeed));
  const { service, figures } = await startAgain(bench, directory, keys);
  return { keys, directory, service, requests: await decryptions(bench, service, seeded), figures };
}

/** The last of several starts, and how long the median took. */
async function startAgain(bench: Bench, directory: string, keys: number) {
  let service = await startService(bench, directory);
  const times = [service.startMs];
  while (times.length < starts) {
    await service.stop();
    service = await startService(bench, directory);
    times.push(service.startMs);
  }
  const median = times.toSorted((a, b) => a - b)[Math.floor(starts / 2)] ?? Number.NaN;
  const residentMiB = memory(service.pid)?.residentMiB;
  const figures: Figure[] = [{ what: `start with ${keys} keys`, value: median, unit: 'ms' }];
  if (residentMiB !== undefined)
    figures.push({ what: `  resident after it`, value: residentMiB, unit: 'MiB' });
  return { service, figures };
}

function spread({ keys, service, requests }: Place, law: 'Zipf' | 'uniform'): Spread {
  const random = seededRandom(randomSeed);
  const pick = law === 'Zipf' ? zipf(keys, random) : uniform(keys, random);
  return { what: `decrypt, ${keys} keys, ${law}`, service, requests, pick };
}

await bench('growth/keys', async (bench) => {
  const few = await prepare(bench, 10);
  const figures: Figure[] = [...few.figures];
  const rows: RateRow[] = [];
  for (const keys of [1_000, 10_000, ...(bench.full ? [100_000] : [])]) {
    const place = await prepare(bench, keys);
    figures.push(...place.figures);
    for (const law of ['Zipf', 'uniform'] as const) {
      const { row, misses } = await compareSpreads(bench, {
        few: spread(few, 'Zipf'),
        many: spread(place, law),
        targetRatio: law === 'Zipf' ? 0.8 : undefined,
      });
      rows.push(row);
      figures.push(misses);
    }
    await place.service.stop();
  }
  return { rows, figures, setting: { ...spreadSetting, rounds, starts, randomSeed } };
});
