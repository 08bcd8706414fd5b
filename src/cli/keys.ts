import type { Command } from 'commander';
import type { Client, Key } from '../client/index.ts';
import { algorithms } from '../crypto/suites.ts';
import { connect } from './connect.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export function addKeyCommands(program: Command, { environment }: Surroundings): void {
  const keys = program.command('keys').description('manage keys of a running service');

  keys
    .command('create <name>')
    .description('create a key in the HSM')
    .option('--algorithm <algorithm>', `one of ${algorithms.join(', ')}`, 'aes-256-gcm')
    .option('--description <text>', 'what it is for')
    .action(async (name: string, options: { algorithm: string; description?: string }, command: Command) => {
      // What an algorithm may be is the service's to say.
      const request = { name, ...options } as Parameters<Client['createKey']>[0];
      const key = await connect(environment).createKey(request);
      print(command, key, () => describe(key));
    });

  keys
    .command('list')
    .description('list the keys the token may see')
    .action(async (_options, command: Command) => {
      const items: Key[] = [];
      for await (const key of connect(environment).listKeys.all()) items.push(key);
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

  const verbs: [string, string, (client: Client, key: string) => Promise<Key>][] = [
    ['show', 'describe a key', (client, key) => client.getKey({ key })],
    ['rotate', 'make a new version and encrypt with it', (client, key) => client.rotateKey({ key })],
    [
      'disable',
      'refuse to encrypt and decrypt',
      (client, key) => client.updateKey({ key, state: 'disabled' }),
    ],
    ['enable', 'allow it again', (client, key) => client.updateKey({ key, state: 'enabled' })],
  ];
  for (const [verb, description, act] of verbs) {
    keys
      .command(`${verb} <key>`)
      .description(description)
      .action(async (ref: string, _options, command: Command) => {
        const key = await act(connect(environment), ref);
        print(command, key, () => describe(key));
      });
  }
}

function describe(key: Key): string[] {
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
