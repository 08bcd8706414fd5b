// Decryptions spread over many keys or versions, against the same with few.
import { generate } from '../load/generate.ts';
import type { Bench } from './bench.ts';
import { generateCleanly, requestBytes, targetOf } from './over-http.ts';
import type { Figure, RateRow } from './report.ts';
import { medianRound } from './rounds.ts';
import type { Seeded } from './seed.ts';
import type { BenchService } from './service.ts';
import { costOf } from './usage.ts';

const connections = 64;
const spreadRoundMilliseconds = 700;
const warmUpMilliseconds = 600;
const sliceMilliseconds = 250;
export const spreadSetting = { connections, spreadRoundMilliseconds };

/** Requests to one service, and which comes next. */
export interface Spread {
  readonly what: string;
  readonly service: BenchService;
  readonly requests: readonly Buffer[];
  readonly pick: () => number;
}

/** A request for each ciphertext, sent once by now: what a service's memory and token hold is at rest. */
export async function decryptions(
  bench: Bench,
  service: BenchService,
  seeded: readonly Seeded[],
): Promise<Buffer[]> {
  bench.progress(`decrypting each of ${seeded.length} once`);
  const requests = seeded.map(({ key, ciphertext }) =>
    requestBytes(service, { path: `/v1/keys/${key}/decrypt`, body: JSON.stringify({ ciphertext }) }),
  );
  let sent = 0;
  const target = targetOf(service);
  const next = () => requests[sent++ % requests.length] as Buffer;
  // Nothing is measured yet: a moment in which a busy disk made the service refuse does not matter.
  while (sent < requests.length)
    await generate({ target, connections, milliseconds: sliceMilliseconds, next });
  return requests;
}

function load({ service, requests, pick }: Spread, milliseconds: number) {
  const next = () => requests[pick()] as Buffer;
  return generateCleanly({ target: targetOf(service), connections, milliseconds, next });
}

async function handleMisses(service: BenchService): Promise<number> {
  const text = await service.call<string>('GET', '/metrics');
  return Number(/^stathera_hsm_handle_misses (\S+)$/m.exec(text)?.[1]);
}

/** @returns the row of `many` with `few` as its floor, and how many decryptions had to unwrap a key */
export async function compareSpreads(
  bench: Bench,
  { few, many, targetRatio }: { few: Spread; many: Spread; targetRatio?: number | undefined },
): Promise<{ row: RateRow; misses: Figure }> {
  bench.progress(many.what);
  await load(few, warmUpMilliseconds);
  await load(many, 2 * warmUpMilliseconds);
  const before = await handleMisses(many.service);
  let operations = 0;
  const row = await medianRound(async () => {
    const floor = await load(few, spreadRoundMilliseconds);
    const measured = await costOf(many.service.pid, () => load(many, spreadRoundMilliseconds));
    operations += measured.operations;
    return { ...measured, floor: floor.rate };
  });
  // Where both are one service, the few are in the token anyway.
  const missed = (await handleMisses(many.service)) - before;
  return {
    row: { what: many.what, ...row, targetRatio },
    misses: {
      what: `keys unwrapped: ${many.what}`,
      value: (100 * missed) / operations,
      unit: '% of decryptions',
    },
  };
}
