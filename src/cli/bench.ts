import { type Command, Option } from 'commander';
import { wholeNumber, withExamples } from './options.ts';
import type { BenchOptions } from './run-bench.ts';
import type { Surroundings } from './surroundings.ts';

export function addBenchCommand(program: Command, surroundings: Surroundings): void {
  const bench = program
    .command('bench')
    .summary('measure the service: rate and latencies')
    .description(
      'measure the service that the environment points at: rate and latencies, by the client library, which takes ' +
        'CPU of this machine too. Each operation is a use of the key and a record in the audit log.',
    )
    .requiredOption('-k, --key <key>', 'a key made for this: its uses are counted')
    .addOption(
      new Option('--operation <operation>', 'what to do').choices(['encrypt', 'decrypt']).default('encrypt'),
    )
    .option('--bytes <count>', 'length of the plaintext', wholeNumber(0, 65_536), 1024)
    .option('--connections <count>', 'operations at once, each on a connection', wholeNumber(1, 1000), 16)
    .option('--seconds <count>', 'how long', wholeNumber(1, 3600), 10)
    .action(async (options: BenchOptions, command: Command) =>
      (await import('./run-bench.ts')).runBench(options, command, surroundings),
    );
  withExamples(
    bench,
    'stathera keys create bench && stathera bench --key bench',
    'stathera bench --key bench --operation decrypt --connections 64 --seconds 30 --json',
  );
}
