import type { Command } from 'commander';
import { isPipe } from './names.ts';
import { wholeNumber, withExamples } from './options.ts';
import type { Surroundings } from './surroundings.ts';

export function addContributeCommand(program: Command, surroundings: Surroundings): void {
  const contribute = program
    .command('contribute')
    .description('add up the rows of a CSV file here, and contribute the sums to a dataset, encrypted')
    .argument('[file]', 'comma-separated values with a line of names; - or nothing is stdin')
    .requiredOption('-d, --dataset <dataset>', 'name or id of the dataset')
    .option('--verification-key <base64>', 'the dataset’s verification key, from its owner')
    .option('--trust-service', 'take the verification key that the service gives')
    .option(
      '--ordinal <number>',
      'which of your contributions to the epoch (default: 1)',
      wholeNumber(1, 1000),
    )
    .option('-q, --quiet', 'show no progress')
    .action(async (file: string | undefined, _options, command: Command) => {
      const { contributeFile } = await import('./contribute-file.ts');
      await contributeFile(isPipe(file) ? undefined : file, command, surroundings);
    });
  withExamples(
    contribute,
    'stathera contribute --dataset salaries --verification-key qCtYet…s40= salaries.csv',
    'psql -c "copy (select department, salary from staff) to stdout csv header" | stathera contribute -d salaries --trust-service',
  );
}
