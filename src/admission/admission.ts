import type { Clock } from '../core/clock.ts';
import type { Deadlines } from '../core/deadlines.ts';
import { isServiceError } from '../core/errors.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Place } from './flows.ts';
import { type Claimant, createLane, type Lane } from './lane.ts';
import { createAdmissionMetrics } from './metrics.ts';
import { createRates } from './rates.ts';
import { rateLimited } from './refusals.ts';

export interface AdmissionLimits {
  /** Requests at work at most. Default 256. */
  readonly concurrent?: number;
  /** Requests waiting at most. Default 1,024. */
  readonly waiting?: number;
  /** What a request waits at most. Default 250. */
  readonly waitMs?: number;
  /** Requests a second of one caller. Default 0: not limited. */
  readonly callerRate?: number;
  /** The same of one namespace. */
  readonly namespaceRate?: number;
}

export interface AdmissionOptions {
  readonly limits: AdmissionLimits;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly metrics: Metrics;
}

/** A request that asks to be let in. */
export interface Applicant {
  /** Aborted when nobody waits for its answer any more. */
  readonly signal: AbortSignal;
  /** Header fields of its answer, set here when there are any. */
  headers: Readonly<Record<string, string>> | undefined;
}

/** Decides which requests are worked on, and in which order, once it is known whose they are. */
export interface Admission {
  /**
   * @param bodyBytes what is to be read of it; larger ones count for more among those that wait
   * @returns the place, at once when there is one: give it back when the work has ended
   * @throws service/rate-limited, service/overloaded, the signal's reason
   */
  enter(claimant: Claimant, applicant: Applicant, bodyBytes: number): Place | Promise<Place>;
  /** The same with slots of its own: what an operator does gets through while the others are full. */
  enterAsOperator(claimant: Claimant, applicant: Applicant): Place | Promise<Place>;
}

/** So many bytes cost about as much as a request by itself. */
const bytesOfCost = 4_096;
/** Operators wait longer: there are few of them, and what they do may not wait for others. */
const operators = { slots: 64, places: 256, waitMs: 2_000 };

export function createAdmission({ limits, clock, deadlines, metrics }: AdmissionOptions): Admission {
  const { concurrent: slots = 256, waiting: places = 1_024, waitMs = 250 } = limits;
  const { callerRate = 0, namespaceRate = 0 } = limits;
  const counted = createAdmissionMetrics(metrics);
  const [dataMetrics, operatorMetrics] = [counted.lane('data'), counted.lane('operator')];
  const data = createLane({ slots, places, waitMs, clock, deadlines, metrics: dataMetrics });
  const operator = createLane({ ...operators, clock, deadlines, metrics: operatorMetrics });
  counted.watch('data', data.status);
  counted.watch('operator', operator.status);
  const [dataFull, operatorFull] = [fieldsOfFull(slots), fieldsOfFull(operators.slots)];
  const rates = createRates({ callerRate, namespaceRate, clock });
  return {
    enter(claimant, applicant, bodyBytes) {
      const taken = rates?.take(claimant);
      applicant.headers = taken?.fields;
      if (taken?.exceeded !== undefined) {
        dataMetrics.refused[`${taken.exceeded}-rate`].add();
        throw rateLimited;
      }
      return enterLane(data, dataFull, claimant, 1 + bodyBytes / bytesOfCost, applicant);
    },
    enterAsOperator: (claimant, applicant) => enterLane(operator, operatorFull, claimant, 1, applicant),
  };
}

type Fields = Readonly<Record<string, string>>;

/** Header fields of what a lane with so many slots refuses. */
function fieldsOfFull(slots: number): Fields {
  return {
    'RateLimit-Policy': `"concurrency";q=${slots};qu="concurrent-requests"`,
    RateLimit: '"concurrency";r=0;t=1',
  };
}

function enterLane(
  lane: Lane,
  full: Fields,
  claimant: Claimant,
  cost: number,
  applicant: Applicant,
): Place | Promise<Place> {
  try {
    const entered = lane.enter(claimant, cost, applicant);
    return entered instanceof Promise ? entered.catch((error) => refused(error, full, applicant)) : entered;
  } catch (error) {
    return refused(error, full, applicant);
  }
}

function refused(error: unknown, full: Fields, applicant: Applicant): never {
  if (isServiceError(error, 'service/overloaded')) applicant.headers = joined(applicant.headers, full);
  throw error;
}

/** Both are lists (RFC 9651): one field holds the members of several. */
function joined(first: Fields | undefined, second: Fields): Fields {
  if (first === undefined) return second;
  return Object.fromEntries(
    Object.entries(second).map(([name, value]) => [name, `${first[name]}, ${value}`]),
  );
}
