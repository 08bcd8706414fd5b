import { wipe } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { ExchangeVersion } from '../keys/key.ts';
import { openSeed } from '../keys/sealed-seed.ts';

/** The seed is in process memory for `work`, which no other part of it survives. */
export async function withSeed<T>(
  hsm: Hsm,
  version: ExchangeVersion,
  work: (seed: Uint8Array) => T | Promise<T>,
): Promise<T> {
  const seed = await openSeed(hsm, version);
  try {
    return await work(seed);
  } finally {
    wipe(seed);
  }
}

/** The one refusal of everything that depends on the input. */
export function refused(): ServiceError {
  return new ServiceError('exchange/refused', 'The key exchange is refused.');
}
