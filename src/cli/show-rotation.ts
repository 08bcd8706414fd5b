import type { Command } from 'commander';
import type { Client, Key, RotationPolicy } from '../client/index.ts';
import { print, table } from './output.ts';

type Answer<Operation extends (...input: never) => Promise<unknown>> = Awaited<ReturnType<Operation>>;
type Status = Answer<Client['getRotationStatus']>;
type Plan = Answer<Client['planRotation']>;
type Upcoming = Answer<Client['listUpcomingRotations']>['items'][number];
type Rotation = Answer<Client['listRotations']>['items'][number];
type Policy = NonNullable<RotationPolicy['policy']>;

/** What makes up a policy on the command line. */
export interface PolicyOptions {
  readonly everyDays?: number;
  readonly everySeconds?: number;
  readonly cron?: string;
  readonly timeZone: string;
  readonly afterEncryptions?: number;
  readonly afterMegabytes?: number;
  readonly jitter?: number;
}

/** Keys that a calendar is made of at most. */
export const mostListed = 20_000;
/** Named below a calendar. */
const mostNamed = 20;
const dayMilliseconds = 86_400_000;
const weekdays = ['Mo', 'Tu', 'We', 'Th', 'Fr', 'Sa', 'Su'];

/** @returns undefined where no option makes a policy */
export function policyOf(options: PolicyOptions): Policy | undefined {
  const { everyDays, everySeconds, cron, timeZone, afterEncryptions, afterMegabytes, jitter } = options;
  const counted = afterEncryptions !== undefined || afterMegabytes !== undefined;
  const policy: Policy = {
    ...(everyDays !== undefined && { everyDays }),
    ...(everySeconds !== undefined && { everySeconds }),
    ...(cron !== undefined && { cron: { expression: cron, timeZone } }),
    ...(counted && {
      after: {
        ...(afterEncryptions !== undefined && { encryptions: afterEncryptions }),
        ...(afterMegabytes !== undefined && { bytes: afterMegabytes * 1_000_000 }),
      },
    }),
    ...(jitter !== undefined && { jitterSeconds: jitter }),
  };
  return Object.keys(policy).length > 0 ? policy : undefined;
}

export function showPolicy(command: Command, policy: RotationPolicy): void {
  print(command, policy, () =>
    table([
      ['policy', policy.policy ? JSON.stringify(policy.policy) : '-'],
      ['of', policy.source === 'none' ? '-' : `the ${policy.source}`],
      ['paused', policy.paused ? 'yes' : 'no'],
      ['next', policy.nextAt ?? '-'],
      ['why', policy.why],
      ['failures', `${policy.failures}${policy.code === undefined ? '' : ` (${policy.code})`}`],
    ]),
  );
}

export function showStatus(command: Command, status: Status): void {
  print(command, status, () => [
    ...table([
      ['scheduled', String(status.scheduled)],
      ['overdue', `${status.overdue}${status.overdue > 0 ? `, by up to ${secondsOf(status)} s` : ''}`],
      ['failing', String(status.failing)],
      ['paused', String(status.paused)],
      ['next', status.nextAt ?? '-'],
    ]),
    ...named('failing', status.failingKeys),
    ...named('paused', status.pausedKeys),
  ]);
}

function secondsOf({ lagMilliseconds }: Status): number {
  return Math.ceil(lagMilliseconds / 1000);
}

function named(what: string, keys: Status['failingKeys']): string[] {
  if (keys.length === 0) return [];
  return ['', `${what}:`, ...table(keys.map((key) => [`  ${key.name}`, key.code ?? '', key.why]))];
}

export function showRotated(command: Command, keys: readonly Key[]): void {
  print(command, { items: keys }, () => keys.map((key) => `${key.name} is at version ${key.currentVersion}`));
}

export function showPlan(command: Command, plan: Plan): void {
  print(command, plan, () => {
    if (plan.dates.length === 0) return ['no date'];
    return plan.more ? [...plan.dates, 'and more'] : plan.dates;
  });
}

export function showHistory(command: Command, items: readonly Rotation[]): void {
  print(command, { items }, () =>
    table([
      ['ROTATED', 'FROM', 'TO', 'CAUSE', 'BY', 'DUE'],
      ...items.map((item) => [
        item.rotatedAt,
        item.fromVersion === 0 ? '-' : String(item.fromVersion),
        String(item.toVersion),
        item.cause,
        item.by.name,
        item.dueAt ?? '-',
      ]),
    ]),
  );
}

/** Weeks of days, in UTC, with how many rotations each has. */
export function showCalendar(command: Command, items: readonly Upcoming[], days: number): void {
  print(command, { items }, () => {
    const now = Date.now();
    const counts = new Map<number, number>();
    for (const date of items.flatMap(({ dates }) => dates)) {
      const day = dayOf(Math.max(now, Date.parse(date)));
      counts.set(day, (counts.get(day) ?? 0) + 1);
    }
    const soon = items.slice(0, mostNamed).map((item) => [item.nextAt ?? '-', item.name, item.why]);
    const more = items.length - soon.length;
    return [
      ...table([['week of', ...weekdays], ...weeks(counts, dayOf(now), dayOf(now) + days)]),
      '',
      ...(soon.length === 0 ? [`nothing within ${days} days`] : table([['NEXT', 'KEY', 'WHY'], ...soon])),
      ...(more > 0 ? [`and ${more}${items.length === mostListed ? ' or more' : ''} others`] : []),
    ];
  });
}

function weeks(counts: ReadonlyMap<number, number>, first: number, last: number): string[][] {
  const rows: string[][] = [];
  for (let monday = first - weekdayOf(first); monday <= last; monday += 7) {
    const cells = weekdays.map((_, at) => {
      const day = monday + at;
      if (day < first || day > last) return '';
      return String(counts.get(day) ?? '·');
    });
    rows.push([new Date(monday * dayMilliseconds).toISOString().slice(0, 10), ...cells]);
  }
  return rows;
}

/** Days since the epoch, which was a Thursday. */
function dayOf(milliseconds: number): number {
  return Math.floor(milliseconds / dayMilliseconds);
}

function weekdayOf(day: number): number {
  return (day + 3) % 7;
}
