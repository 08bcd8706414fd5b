import type { Clock } from '../core/clock.ts';
import { createLru } from '../core/lru.ts';
import type { Claimant } from './lane.ts';

/** What a pause saves up at most, in seconds. */
const savedSeconds = 10;
/** Buckets kept; one that is dropped is full when its owner comes back. */
const bucketLimit = 10_000;

/** Token buckets of one kind: a request takes a token, time gives them back. */
interface Rate {
  readonly name: 'caller' | 'namespace';
  readonly perSecond: number;
  bucketOf(id: string): { tokens: number };
}

export interface RateOptions {
  /** Requests a second; 0: not limited. */
  readonly callerRate: number;
  readonly namespaceRate: number;
  readonly clock: Clock;
}

export interface Rates {
  /**
   * Counts a request.
   * @returns what it exceeds, if anything: then it does not count; and the header fields of the answer
   */
  take(claimant: Claimant): {
    readonly exceeded: 'caller' | 'namespace' | undefined;
    readonly fields: Readonly<Record<string, string>>;
  };
}

/**
 * Rates and their header fields, `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-11.
 * @returns undefined when nothing is limited
 */
export function createRates({ callerRate, namespaceRate, clock }: RateOptions): Rates | undefined {
  const limits = [
    createRate('caller', callerRate, clock),
    createRate('namespace', namespaceRate, clock),
  ].filter(({ perSecond }) => perSecond > 0);
  if (limits.length === 0) return undefined;
  const policy = limits
    .map(({ name, perSecond }) => `"${name}";q=${perSecond * savedSeconds};w=${savedSeconds}`)
    .join(', ');
  return {
    take({ id, namespaceId }) {
      const counted = limits.map(({ name, bucketOf }) => ({
        name,
        bucket: bucketOf(name === 'caller' ? id : namespaceId),
      }));
      const exceeded = counted.find(({ bucket }) => bucket.tokens < 1)?.name;
      if (exceeded === undefined) for (const { bucket } of counted) bucket.tokens -= 1;
      // A rate is at least one a second: within that time there is one more.
      const left = counted.map(({ name, bucket }) => `"${name}";r=${Math.floor(bucket.tokens)};t=1`);
      return { exceeded, fields: { 'RateLimit-Policy': policy, RateLimit: left.join(', ') } };
    },
  };
}

function createRate(name: Rate['name'], perSecond: number, clock: Clock): Rate {
  const buckets = createLru<{ tokens: number; at: number }>();
  const most = perSecond * savedSeconds;
  return {
    name,
    perSecond,
    bucketOf(id) {
      const at = clock.monotonic();
      const known = buckets.use(id);
      if (known !== undefined) {
        known.tokens = Math.min(most, known.tokens + ((at - known.at) / 1000) * perSecond);
        known.at = at;
        return known;
      }
      const oldest = buckets.size >= bucketLimit ? buckets.oldest() : undefined;
      if (oldest !== undefined) buckets.delete(oldest);
      const full = { tokens: most, at };
      buckets.set(id, full);
      return full;
    },
  };
}
