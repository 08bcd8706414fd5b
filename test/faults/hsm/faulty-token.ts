import type { LinkLimits, Pkcs11Settings } from '../../../src/hsm/pkcs11/settings.ts';
import { openTestToken, type TestToken } from '../../support/token.ts';
import { buildFaultyModule, type FaultyModule } from './faulty-module.ts';

export interface FaultyToken extends TestToken {
  readonly faults: FaultyModule;
  /** What the adapter logged, as `event` or `event:detail`. */
  readonly events: string[];
  /** Milliseconds until the first try after each loss. */
  readonly losses: number[];
  /** Milliseconds each planned re-initialize took. */
  readonly pauses: number[];
}

/** A token behind a module with faults to order. @returns undefined without a C compiler */
export async function openFaultyToken(
  limits: Partial<LinkLimits> = {},
  change: Partial<Pkcs11Settings> = {},
): Promise<FaultyToken | undefined> {
  const faults = buildFaultyModule();
  if (faults === undefined) return undefined;
  Object.assign(process.env, faults.environment);
  const events: string[] = [];
  const losses: number[] = [];
  const pauses: number[] = [];
  const token = await openTestToken(
    { module: faults.module, ...change },
    (_, event, { detail, nextTryMs, pauseMs }) => {
      events.push(detail === undefined ? event : `${event}:${String(detail)}`);
      if (event === 'hsm.unavailable') losses.push(Number(nextTryMs));
      if (event === 'hsm.renewed') pauses.push(Number(pauseMs));
    },
    limits,
  );
  return {
    ...token,
    faults,
    events,
    losses,
    pauses,
    async close() {
      faults.clear();
      await token.close();
      faults.remove();
    },
  };
}
