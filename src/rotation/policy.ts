import { Cron } from 'croner';
import { z } from 'zod';
import { ServiceError, type Violation } from '../core/errors.ts';
import { createLru } from '../core/lru.ts';
import type { Purpose } from '../crypto/suites.ts';

/** When a key is rotated. At most one of `everyDays`, `everySeconds` and `cron`; of all triggers at least one. */
export interface RotationPolicy {
  /** 1–3,650 */
  readonly everyDays?: number | undefined;
  readonly everySeconds?: number | undefined;
  readonly cron?: { readonly expression: string; readonly timeZone: string } | undefined;
  /** By what a version has encrypted, see keys/usage.ts. */
  readonly after?:
    | { readonly encryptions?: number | undefined; readonly bytes?: number | undefined }
    | undefined;
  /** Dates are put off by up to so many seconds, by as many for the same key always. */
  readonly jitterSeconds?: number | undefined;
  /** The service rotates by date in these alone. */
  readonly windows?: RotationWindows | undefined;
}

export interface RotationWindows {
  readonly timeZone: string;
  readonly opens: readonly RotationWindow[];
}

export interface RotationWindow {
  /** Default: every day. */
  readonly days?: readonly Weekday[] | undefined;
  /** `HH:MM`, local. */
  readonly at: string;
  /** 1–1,440, as they pass, whatever clocks are set to. */
  readonly minutes: number;
}

export const weekdays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
export type Weekday = (typeof weekdays)[number];

/** New keys of these purposes get the default where a namespace has none of its own. */
export const defaultPurposes: readonly Purpose[] = ['encrypt', 'mac'];
/** Put off by up to a day, so that what was made together is not rotated together. */
export const defaultPolicy: RotationPolicy = { everyDays: 90, jitterSeconds: 86_400 };

const dayMilliseconds = 86_400_000;
/** Dates of a cron expression that are looked at: a year of daily ones. */
const checkedDates = 400;
/** Further ahead than any 29 February is from another. */
const farthestYears = 10;
const keptPatterns = 1_000;
const patterns = createLru<Cron>();

/** What a policy is stored as and read from; its own rules are `checkPolicy`'s. */
const policySchema: z.ZodType<RotationPolicy> = z.strictObject({
  everyDays: z.int().optional(),
  everySeconds: z.int().optional(),
  cron: z.strictObject({ expression: z.string(), timeZone: z.string() }).optional(),
  after: z.strictObject({ encryptions: z.int().optional(), bytes: z.int().optional() }).optional(),
  jitterSeconds: z.int().optional(),
  windows: z
    .strictObject({
      timeZone: z.string(),
      opens: z.array(
        z.strictObject({
          days: z.array(z.enum(weekdays)).optional(),
          at: z.string(),
          minutes: z.int(),
        }),
      ),
    })
    .optional(),
});

/** @throws internal for one that newer software wrote */
export function readPolicy(text: string): RotationPolicy {
  const parsed = policySchema.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  throw new ServiceError('internal', 'A stored record cannot be read.', {
    cause: new Error('an authenticated policy that is not known: written by newer software'),
  });
}

/** Milliseconds from one date to the next; undefined where a calendar says it, or no date. */
export function periodOf({ everyDays, everySeconds }: RotationPolicy): number | undefined {
  if (everyDays !== undefined) return everyDays * dayMilliseconds;
  return everySeconds === undefined ? undefined : everySeconds * 1000;
}

/** An expression that was checked. */
export function patternOf(expression: string, timeZone: string): Cron {
  const name = `${timeZone} ${expression}`;
  let pattern = patterns.use(name);
  if (!pattern) {
    pattern = new Cron(expression, { timezone: timeZone, paused: true });
    patterns.set(name, pattern);
    const oldest = patterns.size > keptPatterns ? patterns.oldest() : undefined;
    if (oldest !== undefined) patterns.delete(oldest);
  }
  return pattern;
}

/** When a window opens: its start as a pattern. */
export function openingOf({ days, at }: RotationWindow, timeZone: string): Cron {
  const [hour, minute] = at.split(':').map(Number);
  const on = days === undefined ? '*' : days.map((day) => weekdays.indexOf(day)).join(',');
  return patternOf(`${minute} ${hour} * * ${on}`, timeZone);
}

/**
 * Refuses what the service would not keep, with what to do instead.
 * @param minimumSeconds the shortest period allowed
 * @throws request/invalid with a pointer to each member that breaks a rule
 */
export function checkPolicy(
  policy: RotationPolicy,
  { minimumSeconds, now, purpose }: { minimumSeconds: number; now: number; purpose?: Purpose },
): void {
  const broken: Violation[] = [];
  const say = (pointer: string, detail: string) => void broken.push({ pointer: `/policy${pointer}`, detail });
  const { everyDays, everySeconds, cron, after, jitterSeconds = 0, windows } = policy;
  const dates = [everyDays, everySeconds, cron].filter((each) => each !== undefined);
  if (dates.length > 1) say('', 'has more than one of everyDays, everySeconds and cron: give one');
  const limited = after?.encryptions !== undefined || after?.bytes !== undefined;
  if (dates.length === 0 && !limited)
    say('', 'makes nothing due: give everyDays, everySeconds, cron or after; to stop rotation, pause it');
  const period = periodOf(policy);
  if (period !== undefined && period < minimumSeconds * 1000)
    say(everyDays === undefined ? '/everySeconds' : '/everyDays', tooOften(minimumSeconds));
  if (dates.length === 0 && (jitterSeconds > 0 || windows))
    say('', 'has jitterSeconds or windows and no date that they could put off');
  if (period !== undefined && jitterSeconds * 1000 > period)
    say('/jitterSeconds', 'must not be longer than the period');
  if (cron) checkCron(cron, { minimumSeconds, now, say });
  if (windows) checkWindows(windows, say);
  if (limited && purpose !== undefined && purpose !== 'encrypt')
    say('/after', 'counts encryptions, and this key does not encrypt: give a date');
  if (broken.length > 0)
    throw new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
      errors: broken,
    });
}

type Say = (pointer: string, detail: string) => void;

function tooOften(minimumSeconds: number): string {
  return `must not come more often than every ${minimumSeconds} seconds, which the service is set to`;
}

function checkCron(
  { expression, timeZone }: NonNullable<RotationPolicy['cron']>,
  { minimumSeconds, now, say }: { minimumSeconds: number; now: number; say: Say },
): void {
  if (!isTimeZone(timeZone)) return say('/cron/timeZone', unknownZone);
  // Of more fields or fewer some are a date or a nickname to the library.
  const fields = expression.trim().split(/\s+/).length;
  if (fields !== 5 && fields !== 6) return say('/cron/expression', noCron);
  let date: Date | null;
  const pattern = () => patternOf(expression, timeZone);
  try {
    date = pattern().nextRun(new Date(now));
  } catch {
    return say('/cron/expression', noCron);
  }
  if (date === null || date.getTime() - now > farthestYears * 366 * dayMilliseconds)
    return say('/cron/expression', 'names no date within ten years: it would never rotate the key');
  for (let count = 0; count < checkedDates; count += 1) {
    const next = pattern().nextRun(date);
    if (next === null || next.getTime() - now > farthestYears * 366 * dayMilliseconds) return;
    // The hour that is left out in spring makes a day of 23.
    const shortest = minimumSeconds * 1000 - (minimumSeconds >= 86_400 ? 3_600_000 : 0);
    if (next.getTime() - date.getTime() < shortest) return say('/cron/expression', tooOften(minimumSeconds));
    date = next;
  }
}

const noCron = 'must be five cron fields (minute hour day month weekday), or six with seconds first';
const unknownZone = 'must be a time zone of the IANA database, as Europe/Berlin or UTC';

function checkWindows({ timeZone, opens }: RotationWindows, say: Say): void {
  if (!isTimeZone(timeZone)) return say('/windows/timeZone', unknownZone);
  if (opens.length === 0) return say('/windows/opens', 'has no window: nothing would ever be rotated');
  for (const [at, { days }] of opens.entries()) {
    if (days?.length === 0) say(`/windows/opens/${at}/days`, 'names no day: leave it out for every day');
  }
}

function isTimeZone(name: string): boolean {
  try {
    // Offsets are no names: they know nothing of summer.
    return /^[A-Za-z]/.test(new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone);
  } catch {
    return false;
  }
}
