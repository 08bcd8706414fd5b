import type { Command } from 'commander';
import type { Client } from '../client/index.ts';
import { Failed } from './failed.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export interface DestroyOptions {
  readonly all?: true;
  /** Seconds. */
  readonly window?: number;
  readonly reason?: string;
  readonly dryRun?: true;
}

export interface RetentionOptions {
  readonly keepLatest?: number;
  readonly retireAfter?: number;
  readonly finally?: string;
  readonly window?: number;
  readonly reason?: string;
  readonly dryRun?: true;
  readonly remove?: true;
}

type Plan = Awaited<ReturnType<Client['destroyKeyVersions']>>;
type Retention = Awaited<ReturnType<Client['getRetention']>>;

export async function destroy(
  key: string,
  versions: readonly number[],
  { all, window, reason, dryRun }: DestroyOptions,
  command: Command,
  { client }: Surroundings,
): Promise<void> {
  if ((versions.length === 0) !== (all === true))
    throw new Failed('name the versions, or all of them with --all');
  const plan = await (await client()).destroyKeyVersions({
    key,
    ...(versions.length > 0 && { versions: [...versions] }),
    ...(window !== undefined && { windowSeconds: window }),
    ...(reason !== undefined && { reason }),
    ...(dryRun && { dryRun }),
  });
  print(command, plan, () => describePlan(plan));
}

function describePlan({ dryRun, destroyAt, dataKeySeconds, versions }: Plan): string[] {
  const refused = versions.flatMap(({ refusal }) => (refusal ? [refusal.detail] : []));
  return [
    ...table([
      ['VERSION', 'STATE', 'USES', 'LAST USED', 'DEPENDING', 'BECOMES UNREADABLE'],
      ...versions.map((each) => [
        ...[String(each.version), each.state, `up to ${each.usesReserved}`, each.lastUsedAt ?? '-'],
        each.coverage ? `${each.coverage.remaining} of ${each.coverage.found} found` : 'not known',
        each.effect === 'unreadable' ? 'what depends on it' : each.effect,
      ]),
    ]),
    ...(dataKeySeconds > 0 ? [`data keys that they opened are used for up to ${dataKeySeconds} s more`] : []),
    ...refused,
    dryRun
      ? `nothing was changed; it would be destroyed at ${destroyAt}`
      : `to be destroyed at ${destroyAt}; until then \`stathera keys restore\` takes it back`,
  ];
}

export async function restore(
  key: string,
  versions: readonly number[],
  command: Command,
  { client }: Surroundings,
): Promise<void> {
  const given = versions.length > 0 && { versions: [...versions] };
  const restored = await (await client()).restoreKeyVersions({ key, ...given });
  print(command, restored, () => [`restored: ${restored.versions.join(', ')}`]);
}

export async function destructions(key: string, command: Command, { client }: Surroundings): Promise<void> {
  const items = await Array.fromAsync((await client()).listDestructions.all({ key }));
  print(command, { items }, () =>
    table([
      ['VERSION', 'STATE', 'SCHEDULED', 'DESTRUCTION', 'ENDED', 'REASON'],
      ...items.map((each) => [
        ...[String(each.version), each.state, each.scheduledAt, each.destroyAt],
        ...[each.endedAt ?? '-', each.reason ?? '-'],
      ]),
    ]),
  );
}

export async function retention(
  key: string,
  { remove, ...options }: RetentionOptions,
  command: Command,
  { client }: Surroundings,
): Promise<void> {
  const service = await client();
  if (remove) {
    await service.removeRetention({ key });
    print(command, { key, removed: true }, () => ['versions are kept until somebody decides']);
    return;
  }
  const answer =
    Object.keys(options).length === 0
      ? await service.getRetention({ key })
      : await service.setRetention({ key, ...bodyOf(options) });
  print(command, answer, () => describeRetention(answer));
}

function bodyOf({ keepLatest, retireAfter, window, finally: end, reason, dryRun }: RetentionOptions) {
  type Finally = NonNullable<Parameters<Client['setRetention']>[0]['finally']>;
  return {
    ...(keepLatest !== undefined && { keepLatest }),
    ...(retireAfter !== undefined && { retireAfterSeconds: retireAfter }),
    ...(end !== undefined && { finally: end as Finally }),
    ...(window !== undefined && { windowSeconds: window }),
    ...(reason !== undefined && { reason }),
    ...(dryRun && { dryRun }),
  };
}

function describeRetention({ policy, nextAt, versions }: Retention): string[] {
  if (!policy) return ['versions are kept until somebody decides'];
  const after = policy.retireAfterSeconds;
  return [
    ...table([
      ['keeps the latest', policy.keepLatest === undefined ? '-' : String(policy.keepLatest)],
      ['and what was superseded for less than', after === undefined ? '-' : `${after} s`],
      ['in the end', policy.finally],
      ['even so, because', policy.reason ?? '-'],
      ['looked at next', nextAt ?? '-'],
    ]),
    ...versions.map(
      ({ version, state, step, held }) =>
        `version ${version} (${state}): ${step}${held ? `, held: ${held}` : ', due'}`,
    ),
  ];
}
