import { type Command, Option } from 'commander';
import type { Client, Key } from '../client/index.ts';
import { algorithms } from '../crypto/suites.ts';
import { addImport } from './import-key.ts';
import { addLifecycleCommands } from './lifecycle.ts';
import { collectPair, type Pairs, wholeNumber, withExamples } from './options.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

const keyArgument = ['<key>', 'its name or id'] as const;

export function addKeyCommands(program: Command, surroundings: Surroundings): void {
  const { client } = surroundings;
  const keys = program.command('keys').description('manage keys of a running service');
  addCreate(keys, client);

  const list = keys
    .command('list')
    .description('list the keys the token may see')
    .action(async (_options, command: Command) => {
      const items = await Array.fromAsync((await client()).listKeys.all());
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
  withExamples(list, 'stathera keys list', "stathera keys list --json | jq -r '.items[].name'");

  const verbs: [
    string,
    string,
    (client: Client, key: string) => Promise<Key & { readonly existing?: string }>,
  ][] = [
    ['show', 'describe a key', (service, key) => service.getKey({ key })],
    [
      'rotate',
      'make a new version and use it from now on; the old ones go on decrypting and verifying',
      (service, key) => service.rotateKey({ key }),
    ],
    [
      'disable',
      'refuse all that is done with a key, until it is enabled',
      (service, key) => service.updateKey({ key, state: 'disabled' }),
    ],
    ['enable', 'allow it again', (service, key) => service.updateKey({ key, state: 'enabled' })],
  ];
  for (const [verb, description, act] of verbs) {
    const command = keys
      .command(verb)
      .description(description)
      .argument(...keyArgument)
      .action(async (ref: string, _options, self: Command) => {
        const key = await act(await client(), ref);
        print(self, key, () => [...describe(key), ...(key.existing === undefined ? [] : [key.existing])]);
      });
    withExamples(command, `stathera keys ${verb} payments`);
  }
  addVersions(keys, client);
  addLifecycleCommands(keys, surroundings);
  addImport(keys, surroundings);
  addPublicKey(keys, client);
}

function addPublicKey(keys: Command, client: Surroundings['client']): void {
  const shown = keys
    .command('public-key')
    .description('print the public key of a key pair, as `stathera seal` takes it, with its fingerprint')
    .argument(...keyArgument)
    .argument('[version]', 'its number (default: the current one)', wholeNumber(1, 999_999_999))
    .option('--pem', 'print it as PEM instead, for other software')
    .action(async (key: string, version: number | undefined, { pem }: { pem?: true }) => {
      const input = { key, ...(version !== undefined && { version }) };
      const answer = await (await client()).getPublicKey(input);
      const { pemOf, publicKeyText } = await import('./public-keys.ts');
      console.log(pem ? pemOf(answer) : JSON.stringify(publicKeyText(answer)));
    });
  withExamples(
    shown,
    'stathera keys public-key inbox > inbox.pub',
    'stathera keys public-key inbox | jq -r .fingerprint',
    'stathera keys public-key releases --pem > releases.pem',
  );
}

function addCreate(keys: Command, client: Surroundings['client']): void {
  // What an algorithm may be is the service's to say: this is what one of this version knows.
  const algorithm = new Option('-a, --algorithm <algorithm>', 'says what the key is for, too')
    .choices(algorithms)
    .argParser(String)
    .default('aes-256-gcm');
  const create = keys
    .command('create')
    .description('create a key in the HSM')
    .argument('<name>', 'lower-case letters, digits and . _ -')
    .addOption(algorithm)
    .option('--description <text>', 'what it is for')
    .addOption(
      new Option('--origin <origin>', 'where its versions are made; external ones are imported').choices([
        'hsm',
        'external',
      ]),
    )
    .option('--tag <name=value>', 'a tag; may be repeated', collectPair)
    .action(
      async (
        name: string,
        { tag, ...options }: { algorithm: string; description?: string; origin?: string; tag?: Pairs },
        command: Command,
      ) => {
        const request = { name, ...options, ...(tag && { tags: tag }) };
        const key = await (await client()).createKey(request as Parameters<Client['createKey']>[0]);
        print(command, key, () => describe(key));
      },
    );
  withExamples(
    create,
    'stathera keys create payments --tag team=checkout',
    "stathera keys create logs --algorithm xaes-256-gcm --description 'never worn out'",
    'stathera keys create inbox --algorithm x-wing',
  );
}

function addVersions(keys: Command, client: Surroundings['client']): void {
  const versions = keys
    .command('versions')
    .description('list the versions of a key')
    .argument(...keyArgument)
    .action(async (key: string, _options, command: Command) => {
      const items = await Array.fromAsync((await client()).listKeyVersions.all({ key }));
      print(command, { items }, () =>
        table([
          ['VERSION', 'ALGORITHM', 'STATE', 'ORIGIN', 'CREATED', 'LAST USED'],
          ...items.map((each) => [
            String(each.version),
            each.algorithm,
            each.state,
            each.origin,
            each.createdAt,
            each.lastUsedAt ?? '-',
          ]),
        ]),
      );
    });
  withExamples(versions, 'stathera keys versions payments');

  type State = Parameters<Client['updateKeyVersion']>[0]['state'];
  const setVersion = keys
    .command('set-version')
    .description('set what a version of a key may do')
    .argument(...keyArgument)
    .argument('<version>', 'its number', wholeNumber(1, 999_999_999))
    .argument('<state>', 'enabled, decrypt-only or disabled')
    .action(async (key: string, version: number, state: string, _options, command: Command) => {
      const changed = await (await client()).updateKeyVersion({ key, version, state: state as State });
      print(command, changed, () => [`version ${changed.version} is ${changed.state}`]);
    });
  withExamples(setVersion, 'stathera keys set-version payments 1 disabled');
}

function describe(key: Key): string[] {
  return table([
    ['name', key.name],
    ['id', key.id],
    ['algorithm', key.algorithm],
    ['purpose', key.purpose],
    ['protection', key.protection],
    ['state', key.state],
    ['current version', String(key.currentVersion)],
    ['made', key.origin === 'hsm' ? 'in the HSM' : 'elsewhere, and imported'],
    ['description', key.description || '-'],
    [
      'tags',
      Object.entries(key.tags)
        .map((tag) => tag.join('='))
        .join(', ') || '-',
    ],
    ['created', key.createdAt],
    ['last used', key.lastUsedAt ?? '-'],
  ]);
}
