import { createHash } from 'node:crypto';
import { openingOf, patternOf, periodOf, type RotationPolicy } from './policy.ts';

// Dates of rotations: pure functions of a policy, the key's id and times given. Milliseconds since the epoch.

export interface Due {
  /** What the policy says; null where no date makes it due. */
  readonly dueAt: number | null;
  /** When to act: not before, and in a window. */
  readonly actAt: number | null;
}

interface At {
  readonly keyId: string;
  readonly now: number;
}

/**
 * The first date after a policy was set.
 * @param since when the current version was made: its age counts. What is overdue by that is due now, put off by the
 *   jitter, so that a policy for many old keys does not rotate them all at once
 */
export function firstDue(policy: RotationPolicy, { keyId, now, since }: At & { since: number }): Due {
  const period = periodOf(policy);
  if (period === undefined) return afterCalendar(policy, { keyId, now });
  return inWindow(policy, Math.max(since + period, now) + jitterOf(policy, keyId), now);
}

/** The date after one whose rotation was made `now`. However many were missed, one stood for them. */
export function nextDue(policy: RotationPolicy, { keyId, now, dueAt }: At & { dueAt: number }): Due {
  const period = periodOf(policy);
  if (period === undefined) return afterCalendar(policy, { keyId, now: Math.max(now, dueAt) });
  const missed = Math.max(0, Math.floor((now - dueAt) / period));
  return inWindow(policy, dueAt + (missed + 1) * period, now);
}

/** The date after a rotation that no date asked for: a period counts anew, a calendar stands. */
export function dueAfterOther(policy: RotationPolicy, at: At): Due {
  return firstDue(policy, { ...at, since: at.now });
}

/** When to act on what is due: at once, or when a window opens. */
export function whenToAct(policy: RotationPolicy, notBefore: number): number {
  const { windows } = policy;
  if (!windows) return notBefore;
  let earliest = Number.POSITIVE_INFINITY;
  for (const window of windows.opens) {
    const length = window.minutes * 60_000;
    const opening = openingOf(window, windows.timeZone);
    // The one that opened last may be open still.
    const opens = opening.nextRun(new Date(notBefore - length))?.getTime();
    if (opens === undefined) continue;
    if (opens <= notBefore) return notBefore;
    earliest = Math.min(earliest, opens);
  }
  return earliest === Number.POSITIVE_INFINITY ? notBefore : earliest;
}

/**
 * The dates to come until `until`, the first one `due`, as if each was kept.
 * @returns when the service would act, at most `limit`
 */
export function datesAhead(
  policy: RotationPolicy,
  { keyId, due, until, limit }: { keyId: string; due: Due; until: number; limit: number },
): number[] {
  const dates: number[] = [];
  for (let next = due; next.dueAt !== null && next.actAt !== null && dates.length < limit; ) {
    if (next.actAt > until) break;
    dates.push(next.actAt);
    next = nextDue(policy, { keyId, dueAt: next.dueAt, now: next.actAt });
  }
  return dates;
}

/** By as much for the same key always, evenly spread over keys. */
function jitterOf({ jitterSeconds = 0 }: RotationPolicy, keyId: string): number {
  if (jitterSeconds === 0) return 0;
  const digest = createHash('sha256').update(`stathera/rotation/jitter/${keyId}`).digest();
  return Math.floor((digest.readUIntBE(0, 6) / 2 ** 48) * jitterSeconds * 1000);
}

function afterCalendar(policy: RotationPolicy, { keyId, now }: At): Due {
  if (!policy.cron) return { dueAt: null, actAt: null };
  const offset = jitterOf(policy, keyId);
  const date = patternOf(policy.cron.expression, policy.cron.timeZone).nextRun(new Date(now - offset));
  if (date === null) return { dueAt: null, actAt: null };
  return inWindow(policy, date.getTime() + offset, now);
}

function inWindow(policy: RotationPolicy, dueAt: number, now: number): Due {
  return { dueAt, actAt: whenToAct(policy, Math.max(dueAt, now)) };
}
