import { type Command, Option } from 'commander';
import { collectText, withExamples } from './options.ts';
import type { Surroundings } from './surroundings.ts';
import type { CreateOptions, ListEventsOptions } from './webhooks-show.ts';

const webhookArgument = ['<webhook>', 'its id'] as const;
const anId = '019a5b2e-8c00-7000-8000-000000000001';

export function addWebhookCommands(program: Command, surroundings: Surroundings): void {
  const show = () => import('./webhooks-show.ts');
  const webhooks = program
    .command('webhooks')
    .description('have events of your namespace sent to URLs, signed');

  const create = webhooks
    .command('create')
    .summary('have events sent to a URL; the secret they are signed by is printed once')
    .description(
      'have events sent to a URL, signed as Standard Webhooks has it. The secret is printed once, and is nowhere else.',
    )
    .argument('<url>', 'https; public, or in a subnet that the service is set to allow')
    .option('--type <type>', 'only these, such as destruction.scheduled; may be repeated', collectText)
    .option('--description <text>', 'what it is for')
    .action(async (url: string, options: CreateOptions, command: Command) =>
      (await show()).create(url, options, command, surroundings),
    );
  withExamples(
    create,
    'stathera webhooks create https://hooks.example.com/stathera --type destruction.scheduled',
    'stathera webhooks create https://hooks.example.com/all --json | jq -r .secret > secret',
  );

  const list = webhooks
    .command('list')
    .description('list the webhooks of your namespace')
    .action(async (_options, command: Command) => (await show()).list(command, surroundings));
  withExamples(list, 'stathera webhooks list');

  for (const [verb, description] of [
    ['enable', 'go on sending to a webhook'],
    ['disable', 'send nothing to a webhook; what happens meanwhile is not sent to it later'],
    ['remove', 'remove a webhook and what is on its way to it'],
    ['redeliver', 'send again what was given up'],
  ] as const) {
    const command = webhooks
      .command(verb)
      .description(description)
      .argument(...webhookArgument)
      .action(async (id: string, _options, self: Command) =>
        (await show()).act(verb, id, self, surroundings),
      );
    withExamples(command, `stathera webhooks ${verb} ${anId}`);
  }

  const deliveries = webhooks
    .command('deliveries')
    .description('list what did not arrive at a webhook yet, and what was given up')
    .argument(...webhookArgument)
    .addOption(new Option('--state <state>', 'only these').choices(['pending', 'dead']))
    .action(async (id: string, { state }: { state?: 'pending' | 'dead' }, command: Command) =>
      (await show()).deliveries(id, state, command, surroundings),
    );
  withExamples(deliveries, `stathera webhooks deliveries ${anId} --state dead`);
  addEvents(program, surroundings);
}

function addEvents(program: Command, surroundings: Surroundings): void {
  const events = program
    .command('events')
    .description('list what happened to keys of your namespace, oldest first')
    .option('--type <type>', 'only these, such as rotation.failed; may be repeated', collectText)
    .option('--after <number>', 'only what came about after the event of this number')
    .action(async (options: ListEventsOptions, command: Command) =>
      (await import('./webhooks-show.ts')).listEvents(options, command, surroundings),
    );
  withExamples(
    events,
    'stathera events --type rotation.failed --type destruction.done',
    "stathera events --json | jq -r '.items[].type' | sort | uniq -c",
  );
}
