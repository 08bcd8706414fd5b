import type { Command } from 'commander';
import { createClient } from './client.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

interface KeyAnswer {
  readonly id: string;
  readonly name: string;
  readonly algorithm: string;
  readonly state: string;
  readonly protection: string;
  readonly description: string;
  readonly currentVersion: number;
  readonly createdAt: string;
  readonly lastUsedAt?: string;
}

interface PageAnswer<Item> {
  readonly items: readonly Item[];
  readonly nextCursor?: string;
}

export function addKeyCommands(program: Command, { environment }: Surroundings): void {
  const client = createClient(environment);
  const keys = program.command('keys').description('manage keys of a running service');

  keys
    .command('create <name>')
    .description('create a key in the HSM')
    .option('--algorithm <algorithm>', 'aes-256-gcm or aes-128-gcm', 'aes-256-gcm')
    .option('--description <text>', 'what it is for')
    .action(async (name: string, options: { algorithm: string; description?: string }, command: Command) => {
      const key = (await client.call('POST', '/v1/keys', { name, ...options })) as KeyAnswer;
      print(command, key, () => describe(key));
    });

  keys
    .command('list')
    .description('list the keys the token may see')
    .action(async (_options, command: Command) => {
      const items: KeyAnswer[] = [];
      let cursor: string | undefined;
      do {
        const query = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`;
        const page = (await client.call('GET', `/v1/keys?limit=1000${query}`)) as PageAnswer<KeyAnswer>;
        items.push(...page.items);
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      print(command, { items }, () =>
        table([
          ['NAME', 'ALGORITHM', 'STATE', 'VERSION', 'LAST USED'],
          ...items.map((key) => [
            key.name,
            key.algorithm,
            key.state,
            String(key.currentVersion),
            key.lastUsedAt ?? '-',
          ]),
        ]),
      );
    });

  for (const [verb, description, act] of [
    ['show', 'describe a key', (key: string) => client.call('GET', path(key))],
    [
      'rotate',
      'make a new version and encrypt with it',
      (key: string) => client.call('POST', `${path(key)}/rotate`, {}),
    ],
    [
      'disable',
      'refuse to encrypt and decrypt',
      (key: string) => client.call('PATCH', path(key), { state: 'disabled' }),
    ],
    ['enable', 'allow it again', (key: string) => client.call('PATCH', path(key), { state: 'enabled' })],
  ] as const) {
    keys
      .command(`${verb} <key>`)
      .description(description)
      .action(async (key: string, _options, command: Command) => {
        const answer = (await act(key)) as KeyAnswer;
        print(command, answer, () => describe(answer));
      });
  }
}

function path(key: string): string {
  return `/v1/keys/${encodeURIComponent(key)}`;
}

function describe(key: KeyAnswer): string[] {
  return table([
    ['name', key.name],
    ['id', key.id],
    ['algorithm', key.algorithm],
    ['protection', key.protection],
    ['state', key.state],
    ['current version', String(key.currentVersion)],
    ['description', key.description || '-'],
    ['created', key.createdAt],
    ['last used', key.lastUsedAt ?? '-'],
  ]);
}
