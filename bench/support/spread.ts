// Decryptions spread over many keys or versions, against the same with few.
import type { Bench } from './bench.ts';
import { generateCleanly, requestBytes, targetOf } from './over-http.ts';
import type { Figure, RateRow } from './report.ts';
import { medianRound } from './rounds.ts';
import type { Seeded } from './seed.ts';
import type { BenchService } from './service.ts';
import { costOf } from './usage.ts';

const connections = 64;
const spreadRoundMilliseconds = 700;
export const spreadSetting = { connections, spreadRoundMilliseconds };

/** Requests to one service, and which comes next. */
export interface Spread {
  readonly what: string;
  readonly service: BenchService;
  readonly requests: readonly Buffer[];
  readonly pick: () => number;
}

export function decryptions(service: BenchService, seeded: readonly Seeded[]): Buffer[] {
  return seeded.map(({ key, ciphertext }) =>
    requestBytes(service, { path: `/v1/keys/${key}/decrypt`, body: JSON.stringify({ ciphertext }) }),
  );
}

function load({ service, requests, pick }: Spread, milliseconds: number) {
  const next = () => requests[pick()] as Buffer;
  return generateCleanly({ target: targetOf(service), connections, milliseconds, next });
}

/** What a service's memory holds after a while is part of the measurement: first it must come to rest. */
function warmUpMilliseconds({ requests }: Spread): number {
  return Math.min(12_000, 1_000 + requests.length / 5);
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
  await load(few, 500);
  await load(many, warmUpMilliseconds(many));
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
