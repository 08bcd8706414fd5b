import type { Violation } from './check.ts';
import type { History } from './history.ts';

/** A line for people: how much was asked, what came back, what went wrong on purpose. */
export function told({ seen, struck }: History & { readonly struck: ReadonlyMap<string, number> }): string {
  const count = (outcome: string) => seen.filter((one) => one.outcome === outcome).length;
  const faults = [...struck].map(([name, times]) => `${name} ${times}×`).join(', ');
  return `${seen.length} requests: ${count('accepted')} accepted, ${count('refused')} refused, ${count('unknown')} without an answer; ${faults}\n`;
}

/** Violations with what was seen of their requests, for people. */
export function explained(violations: readonly Violation[], { seen, records }: History): string[] {
  return violations.slice(0, 5).map(({ rule, requests }) => {
    const involved = seen.filter(({ requestId }) => requests.includes(requestId));
    const lines = involved.map((one) => `${JSON.stringify(one)} recorded ${records.get(one.requestId)}`);
    return [rule, ...lines].join('\n  ');
  });
}
