import { type Command, Option } from 'commander';
import type { Client, RotationPolicy } from '../client/index.ts';
import { wholeNumber, withExamples } from './options.ts';
import type { PolicyOptions } from './show-rotation.ts';
import type { Surroundings } from './surroundings.ts';

const keyArgument = ['<key>', 'its name or id'] as const;

export function addRotationCommands(program: Command, { client }: Surroundings): void {
  const rotation = program.command('rotation').description('see and set when keys are rotated');
  const show = () => import('./show-rotation.ts');

  const status = rotation
    .command('status')
    .description(
      'show a key’s policy and next date; without a key how many are scheduled, overdue, failing or paused',
    )
    .argument('[key]', keyArgument[1])
    .action(async (key: string | undefined, _options, command: Command) => {
      const service = await client();
      if (key === undefined) (await show()).showStatus(command, await service.getRotationStatus());
      else (await show()).showPolicy(command, await service.getRotationPolicy({ key }));
    });
  withExamples(status, 'stathera rotation status', 'stathera rotation status payments');

  addPlan(rotation, client);
  addSet(rotation, client);

  const run = rotation
    .command('run')
    .description('rotate keys now')
    .argument('<key...>', 'names or ids')
    .action(async (refs: string[], _options, command: Command) => {
      const service = await client();
      const keys = [];
      for (const key of refs) keys.push(await service.rotateKey({ key }));
      (await show()).showRotated(command, keys);
    });
  withExamples(run, 'stathera rotation run payments ledger');

  const verbs: [string, string, (service: Client, key: string) => Promise<RotationPolicy>][] = [
    [
      'pause',
      'rotate a key neither by date nor by count, until it is resumed',
      (service, key) => service.setRotationPolicy({ key, paused: true }),
    ],
    [
      'resume',
      'end a pause; the age of the version counts',
      (service, key) => service.setRotationPolicy({ key, paused: false }),
    ],
  ];
  for (const [verb, description, act] of verbs) {
    const command = rotation
      .command(verb)
      .description(description)
      .argument(...keyArgument)
      .action(async (key: string, _options, self: Command) => {
        (await show()).showPolicy(self, await act(await client(), key));
      });
    withExamples(command, `stathera rotation ${verb} payments`);
  }

  const history = rotation
    .command('history')
    .description('list the rotations of a key, newest first')
    .argument(...keyArgument)
    .action(async (key: string, _options, command: Command) => {
      (await show()).showHistory(command, await Array.fromAsync((await client()).listRotations.all({ key })));
    });
  withExamples(history, 'stathera rotation history payments');
}

function addPlan(rotation: Command, client: Surroundings['client']): void {
  const plan = rotation
    .command('plan')
    .description(
      'show a calendar of the days to come; of one key its dates, or those another policy would give',
    )
    .argument('[key]', keyArgument[1])
    .option('--days <days>', 'so far ahead (default: 30, of one key 365)', wholeNumber(1, 999));
  withPolicy(plan).action(
    async (
      key: string | undefined,
      { days, ...options }: PolicyOptions & { days?: number },
      command: Command,
    ) => {
      const service = await client();
      const show = await import('./show-rotation.ts');
      if (key !== undefined) {
        const policy = show.policyOf(options);
        const input = { key, ...(days !== undefined && { days }), ...(policy && { policy }) };
        show.showPlan(command, await service.planRotation(input));
        return;
      }
      const query = days === undefined ? {} : { days };
      const items = await Array.fromAsync(
        service.listUpcomingRotations.all(query, { maxItems: show.mostListed }),
      );
      show.showCalendar(command, items, days ?? 30);
    },
  );
  withExamples(
    plan,
    'stathera rotation plan',
    'stathera rotation plan payments',
    "stathera rotation plan payments --cron '0 3 1 * *' --time-zone Europe/Berlin",
  );
}

function addSet(rotation: Command, client: Surroundings['client']): void {
  const set = rotation
    .command('set')
    .description('set when a key is rotated')
    .argument(...keyArgument)
    .option('--default', 'as the namespace has it, or not at all')
    .option('--dry-run', 'show the dates of a year and set nothing');
  withPolicy(set).action(
    async (
      key: string,
      { default: byDefault, dryRun, ...options }: PolicyOptions & { default?: true; dryRun?: true },
      command: Command,
    ) => {
      const service = await client();
      const show = await import('./show-rotation.ts');
      const policy = show.policyOf(options);
      if ((policy === undefined) === (byDefault === undefined))
        command.error('error: give what makes a policy, or --default');
      if (dryRun && policy) show.showPlan(command, await service.planRotation({ key, policy }));
      else if (dryRun) command.error('error: --dry-run shows the dates of a policy: give one');
      else show.showPolicy(command, await service.setRotationPolicy({ key, policy: policy ?? null }));
    },
  );
  withExamples(
    set,
    'stathera rotation set payments --every-days 30 --jitter 3600',
    "stathera rotation set payments --cron '0 3 * * sat' --time-zone Europe/Berlin --dry-run",
    'stathera rotation set payments --default',
  );
}

function withPolicy(command: Command): Command {
  return command
    .option('--every-days <days>', 'a period', wholeNumber(1, 3_650))
    .option('--every-seconds <seconds>', 'a period, for tests', wholeNumber(1, 31_536_000))
    .option('--cron <expression>', 'minute, hour, day, month and weekday')
    .addOption(new Option('--time-zone <zone>', 'of the expression').default('UTC'))
    .option('--after-encryptions <count>', 'after so many with one version', wholeNumber(1_000, 999_999_999))
    .option(
      '--after-megabytes <count>',
      'after so many times 1,000,000 bytes with one version',
      wholeNumber(1, 999_999_999),
    )
    .option('--jitter <seconds>', 'put dates off by up to so long', wholeNumber(0, 604_800));
}
