import { type Command, InvalidArgumentError, Option } from 'commander';
import type { QueryOptions } from './dataset-queries.ts';
import { collectText, withExamples } from './options.ts';
import type { Surroundings } from './surroundings.ts';

const datasetArgument = ['<dataset>', 'its name or id'] as const;
const statistics = ['count', 'sum', 'mean', 'variance', 'standard-deviation', 'weighted-sum', 'histogram'];

export function addDatasetCommands(program: Command, { client, exit }: Surroundings): void {
  const datasets = program.command('datasets').description('ask for aggregates of encrypted contributions');
  const query = datasets
    .command('query')
    .description('ask for a statistic and wait for its answer; the exit code is 1 unless there is one')
    .argument(...datasetArgument)
    .addOption(new Option('--statistic <name>', 'what is asked').choices(statistics).makeOptionMandatory())
    .option('--column <name>', 'of what; counts have none')
    .requiredOption('--epoch <number>', 'closed epochs; may be given more than once', collectNumber)
    .option('--where <group=label>', 'only rows with the label; may be given more than once', collectLabel)
    .option('--by <group>', 'an answer for each label; may be given more than once', collectText)
    .option('--by-epoch', 'an answer for each epoch')
    .option(
      '--weights <group:label=weight,…>',
      'of a weighted sum: what rows count by their label',
      weightsOf,
    )
    .requiredOption('--epsilon <number>', 'what it may cost of the budget', positive)
    .option('--dry-run', 'say what it would cost and how exact it would be; nothing is asked')
    .action(async (dataset: string, options: QueryOptions, self: Command) => {
      const { ask } = await import('./dataset-queries.ts');
      if (!(await ask(self, await client(), dataset, options))) exit(1);
    });
  withExamples(
    query,
    'stathera datasets query salaries --statistic mean --column salary --epoch 1 --by department --epsilon 0.25',
    'stathera datasets query salaries --statistic count --epoch 1 --where department=legal --epsilon 0.1 --dry-run',
  );

  const queries = datasets
    .command('queries')
    .description('list what was asked of a dataset, oldest first')
    .argument(...datasetArgument)
    .action(async (dataset: string, _options, self: Command) => {
      const items = await Array.fromAsync((await client()).listQueries.all({ dataset }));
      (await import('./dataset-queries.ts')).listQueries(self, items);
    });
  withExamples(queries, 'stathera datasets queries salaries');

  const answer = datasets
    .command('answer')
    .description('show a query, how far it is, and its answer')
    .argument(...datasetArgument)
    .argument('<query>', 'its id')
    .action(async (dataset: string, id: string, _options, self: Command) => {
      const found = await (await client()).getQuery({ dataset, query: id });
      (await import('./dataset-queries.ts')).showQuery(self, found);
    });
  withExamples(answer, 'stathera datasets answer salaries 019a5b2e-8c00-7000-8000-000000000001');

  const budget = datasets
    .command('budget')
    .description('show what is spent of the budget of the token’s name, and what is left')
    .argument(...datasetArgument)
    .action(async (dataset: string, _options, self: Command) => {
      const found = await (await client()).getBudget({ dataset });
      (await import('./dataset-queries.ts')).showBudget(self, found);
    });
  withExamples(budget, 'stathera datasets budget salaries');
}

type Labels = NonNullable<QueryOptions['where']>;

function collectLabel(text: string, labels: Labels = {}): Labels {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('must be GROUP=LABEL');
  const group = text.slice(0, at);
  const own = Object.hasOwn(labels, group) ? (labels[group] ?? []) : [];
  return Object.fromEntries([...Object.entries(labels), [group, [...own, text.slice(at + 1)]]]);
}

function weightsOf(text: string): QueryOptions['weights'] {
  const [, group, pairs] = /^([^:]+):(.+)$/.exec(text) ?? [];
  if (group === undefined || pairs === undefined) throw badWeights();
  const labels = pairs.split(',').map((pair): [string, number] => {
    const [, label, weight] = /^(.+)=(-?\d{1,7})$/.exec(pair) ?? [];
    if (label === undefined || weight === undefined) throw badWeights();
    return [label, Number(weight)];
  });
  return { group, labels: Object.fromEntries(labels) };
}

function badWeights(): InvalidArgumentError {
  return new InvalidArgumentError('must be GROUP:LABEL=WEIGHT,LABEL=WEIGHT with whole numbers');
}

function collectNumber(text: string, numbers: readonly number[] = []): number[] {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('must be the number of an epoch');
  return [...numbers, Number(text)];
}

function positive(text: string): number {
  if (!/^\d+(?:\.\d+)?$/.test(text) || Number(text) <= 0)
    throw new InvalidArgumentError('must be a number above 0');
  return Number(text);
}
