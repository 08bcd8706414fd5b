import type { RetentionRow } from '../store/lifecycle-rows.ts';
import type { VersionState } from '../store/schema.ts';
import type { Dependence } from './dependence.ts';

/** Superseded versions are past their time when everything that is given here says so. */
export interface Policy {
  /** So many of the newest stay, the current one included. */
  readonly keepLatest?: number | undefined;
  /** Since another version took their place. */
  readonly retireAfterSeconds?: number | undefined;
  /** What becomes of them in the end. `retire`: they make nothing any more, and open what they made. */
  readonly finally: 'retire' | 'disable' | 'destroy';
  /** Of their destruction. */
  readonly windowSeconds: number;
  /** Goes on where it is not known that nothing depends on them, for this reason. */
  readonly reason?: string | undefined;
}

export interface PlannedStep {
  readonly version: number;
  readonly state: VersionState;
  readonly step: Policy['finally'];
  /** Why it is not taken. `restored`: somebody took its destruction back, and what people decide stands. */
  readonly held?: 'coverage-unknown' | 'coverage-incomplete' | 'restored';
}

export function policyOf(row: RetentionRow): Policy {
  return {
    ...(row.keep_latest !== null && { keepLatest: row.keep_latest }),
    ...(row.retire_after_seconds !== null && { retireAfterSeconds: row.retire_after_seconds }),
    ...{ finally: row.finally, windowSeconds: row.window_seconds },
    ...(row.reason !== null && { reason: row.reason }),
  };
}

/** @param version superseded since `supersededAt`, in milliseconds as `now` */
export function isPast(
  { keepLatest, retireAfterSeconds }: Policy,
  version: { readonly ordinal: number; readonly supersededAt: number },
  { currentOrdinal, now }: { readonly currentOrdinal: number; readonly now: number },
): boolean {
  if (keepLatest !== undefined && version.ordinal > currentOrdinal - keepLatest) return false;
  return retireAfterSeconds === undefined || now - version.supersededAt >= retireAfterSeconds * 1000;
}

/** What comes next for a version that is past its time; undefined when it is where it ends. */
export function nextStep(state: VersionState, end: Policy['finally']): Policy['finally'] | undefined {
  if (state === 'enabled') return 'retire';
  if (end === 'disable' && state === 'decrypt-only') return 'disable';
  if (end === 'destroy' && (state === 'decrypt-only' || state === 'disabled')) return 'destroy';
  return undefined;
}

/** What keeps a step from being taken that would make something unreadable. */
export function heldBy(
  { reason }: Policy,
  { effect }: Pick<Dependence, 'effect'>,
  wasRestored: boolean,
): PlannedStep['held'] {
  if (wasRestored) return 'restored';
  if (reason !== undefined || effect === 'nothing') return undefined;
  return effect === 'unknown' ? 'coverage-unknown' : 'coverage-incomplete';
}
