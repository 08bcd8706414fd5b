import type { Command } from 'commander';
import { withExamples } from './options.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export function addNamespaceCommands(program: Command, { client }: Surroundings): void {
  const namespaces = program
    .command('namespaces')
    .description('manage namespaces, between which nothing crosses (needs service:admin)');

  const create = namespaces
    .command('create')
    .description('make a namespace; `tokens create --namespace` makes its first token')
    .argument('<name>', 'its name')
    .option('--region <region>', 'where its data may be (default: as the service has it)')
    .action(async (name: string, { region }: { region?: string }, command: Command) => {
      const made = await (await client()).createNamespace({ name, ...(region !== undefined && { region }) });
      print(command, made, () => table(Object.entries(made)));
    });
  withExamples(
    create,
    'stathera namespaces create shop',
    'stathera tokens create shop-admin --namespace shop -s keys:admin -s access:admin -o shop.token',
  );

  const list = namespaces
    .command('list')
    .description('list the namespaces')
    .action(async (_options, command: Command) => {
      const items = await Array.fromAsync((await client()).listNamespaces.all());
      print(command, { items }, () =>
        table([
          ['NAME', 'REGION', 'CREATED', 'ID'],
          ...items.map(({ name, region, createdAt, id }) => [name, region, createdAt, id]),
        ]),
      );
    });
  withExamples(list, 'stathera namespaces list');
}
