import type { Command } from 'commander';
import type { Client } from '../client/index.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

type Type = NonNullable<Parameters<Client['createWebhook']>[0]['types']>[number];

export interface CreateOptions {
  readonly type?: string[];
  readonly description?: string;
}

export interface ListEventsOptions {
  readonly type?: string[];
  readonly after?: string;
}

export async function create(
  url: string,
  { type, description }: CreateOptions,
  command: Command,
  { client }: Surroundings,
): Promise<void> {
  const made = await (await client()).createWebhook({
    url,
    ...(type && { types: type as Type[] }),
    ...(description !== undefined && { description }),
  });
  print(command, made, () => [`id      ${made.id}`, `secret  ${made.secret}`]);
}

export async function list(command: Command, { client }: Surroundings): Promise<void> {
  const items = await Array.fromAsync((await client()).listWebhooks.all());
  print(command, { items }, () =>
    table([
      ['ID', 'STATE', 'TYPES', 'URL', 'DESCRIPTION'],
      ...items.map(({ id, state, types, url, description }) => [
        ...[id, state, types?.join(',') ?? 'all', url, description || '-'],
      ]),
    ]),
  );
}

export async function act(
  verb: 'enable' | 'disable' | 'remove' | 'redeliver',
  id: string,
  command: Command,
  { client }: Surroundings,
): Promise<void> {
  const service = await client();
  if (verb === 'redeliver') {
    const { count } = await service.redeliver({ id });
    print(command, { count }, () => [`${count} are sent again`]);
    return;
  }
  if (verb === 'remove') {
    await service.removeWebhook({ id });
    print(command, { id, removed: true }, () => ['it is removed']);
    return;
  }
  const webhook = await service.updateWebhook({ id, state: verb === 'enable' ? 'enabled' : 'disabled' });
  print(command, webhook, () => [`it is ${webhook.state}`]);
}

export async function deliveries(
  id: string,
  state: 'pending' | 'dead' | undefined,
  command: Command,
  { client }: Surroundings,
): Promise<void> {
  const query = { id, ...(state !== undefined && { state }) };
  const items = await Array.fromAsync((await client()).listDeliveries.all(query));
  print(command, { items }, () =>
    table([
      ['EVENT', 'STATE', 'ATTEMPTS', 'PROBLEM', 'NEXT', 'CREATED'],
      ...items.map((each) => [
        ...[each.eventId, each.state, String(each.attempts), each.problem ?? '-'],
        ...[each.state === 'dead' ? '-' : each.nextAt, each.createdAt],
      ]),
    ]),
  );
}

export async function listEvents(
  { type, after }: ListEventsOptions,
  command: Command,
  { client }: Surroundings,
): Promise<void> {
  const service = await client();
  const types = type && { types: type.join(',') };
  const items: Awaited<ReturnType<Client['listEvents']>>['items'] = [];
  // By hand: a list of everything begins where one says.
  for (let cursor = after ?? '0'; ; ) {
    const page = await service.listEvents({ limit: 1_000, cursor, ...types });
    items.push(...page.items);
    if (page.nextCursor === undefined) break;
    cursor = page.nextCursor;
  }
  print(command, { items }, () =>
    table([
      ['NUMBER', 'TIME', 'TYPE', 'KEY', 'DETAILS'],
      ...items.map(({ number, at, type: what, keyId, data }) => [
        ...[String(number), at, what, keyId],
        Object.entries(data as object)
          .map((member) => member.join('='))
          .join(' ') || '-',
      ]),
    ]),
  );
}
