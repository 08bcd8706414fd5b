import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { initialize } from '../initialize.ts';
import { print } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export function addInitCommand(program: Command, { environment, adapters }: Surroundings): void {
  program
    .command('init')
    .description(
      'make the token, the database and the first administrator token; finishes what an earlier run left',
    )
    .action(async (_options, command: Command) => {
      const config = readConfig(environment);
      const result = await initialize(config, adapters, () => undefined);
      print(command, { dataDir: config.dataDir, ...result }, () => [
        result.done.length === 0
          ? `${config.dataDir} is complete: nothing to do`
          : `made in ${config.dataDir}: ${result.done.join(', ')}`,
        `the administrator's first token is in ${result.bootstrapTokenFile}`,
      ]);
    });
}
