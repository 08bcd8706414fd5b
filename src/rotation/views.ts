import type { Key } from '../keys/key.ts';
import type { RotationRow, RotationScheduleRow } from '../store/rotation-rows.ts';
import { periodOf, type RotationPolicy, readPolicy } from './policy.ts';

/** Why a key is rotated when it is, or is not. */
export type Reason =
  | 'none'
  | 'external'
  | 'disabled'
  | 'paused'
  | 'failed'
  | 'window'
  | 'date'
  | 'usage'
  | 'unusable';

export interface PolicyView {
  readonly keyId: string;
  readonly source: 'key' | 'namespace' | 'none';
  readonly policy?: RotationPolicy;
  readonly paused: boolean;
  /** When the service acts next, by date. Milliseconds. */
  readonly nextAt?: number;
  /** What the policy says, where the service acts later. */
  readonly dueAt?: number;
  readonly reason: Reason;
  /** The same in a sentence. */
  readonly why: string;
  /** Tries that failed since the last rotation, and the last one's code. */
  readonly failures: number;
  readonly code?: string;
}

export interface RotationView {
  readonly fromVersion: number;
  readonly toVersion: number;
  readonly cause: RotationRow['cause'];
  readonly rotatedAt: number;
  readonly dueAt?: number;
  readonly by: { readonly kind: string; readonly id: string; readonly name: string };
}

export function policyView(
  key: Pick<Key, 'id' | 'external' | 'state'>,
  row: Omit<RotationScheduleRow, 'mac'> | undefined,
): PolicyView {
  if (!row) {
    const reason = key.external ? 'external' : 'none';
    return { keyId: key.id, source: 'none', paused: false, reason, why: texts[reason], failures: 0 };
  }
  const policy = readPolicy(row.policy);
  const reason = reasonOf(key, row);
  const { act_at: nextAt, due_at: dueAt, error_code: code } = row;
  return {
    ...{ keyId: key.id, source: row.source, policy, paused: row.paused === 1 },
    ...(nextAt !== null && { nextAt }),
    ...(dueAt !== null && dueAt !== nextAt && { dueAt }),
    ...{ reason, why: reason === 'date' ? dateText(policy) : texts[reason], failures: row.failures },
    ...(code !== null && { code }),
  };
}

/** Of a row that cannot be authenticated: nothing of it is told. */
export function unusableView(keyId: string): PolicyView {
  const reason = 'unusable';
  return { keyId, source: 'none', paused: false, reason, why: texts[reason], failures: 0, code: 'internal' };
}

function reasonOf(
  { state, external }: Pick<Key, 'state' | 'external'>,
  row: Omit<RotationScheduleRow, 'mac'>,
): Reason {
  if (external) return 'external';
  if (state === 'disabled') return 'disabled';
  if (row.paused === 1) return 'paused';
  if (row.failures > 0) return 'failed';
  if (row.act_at === null) return 'usage';
  return row.due_at !== null && row.act_at > row.due_at ? 'window' : 'date';
}

const texts: Readonly<Record<Exclude<Reason, 'date'>, string>> = {
  none: 'It has no policy: only by hand, and by the service when the limit of its algorithm is near.',
  external: 'Its versions are imported: import the next one.',
  disabled: 'The key is disabled: within an hour of being enabled, if it is due then.',
  paused: 'It is paused: resume it.',
  failed: 'The last try failed, see code: it is tried again.',
  window: 'It is put off: until a window opens, or an hour after the key was found disabled.',
  usage: 'When a version has encrypted as much as the policy allows; no date makes it due.',
  unusable: 'A stored record of it was altered outside the service and is not used: set its policy anew.',
};

function dateText(policy: RotationPolicy): string {
  const { everyDays, cron, after } = policy;
  const period = (periodOf(policy) ?? 0) / 1000;
  const date = cron
    ? `By the calendar ${cron.expression} in ${cron.timeZone}`
    : `Every ${everyDays === undefined ? counted(period, 'second') : counted(everyDays, 'day')}`;
  return `${date}${after ? ', or earlier by what a version has encrypted' : ''}.`;
}

function counted(count: number, what: string): string {
  return count === 1 ? what : `${count} ${what}s`;
}

export function rotationView(row: Omit<RotationRow, 'mac'>): RotationView {
  return {
    ...{ fromVersion: row.from_ordinal, toVersion: row.to_ordinal, cause: row.cause },
    ...{ rotatedAt: row.rotated_at, ...(row.due_at !== null && { dueAt: row.due_at }) },
    by: { kind: row.by_kind, id: row.by_id, name: row.by_name },
  };
}
