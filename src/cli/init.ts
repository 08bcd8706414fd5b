import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { initialize } from '../initialize.ts';
import { print } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export async function init(command: Command, { environment, adapters }: Surroundings): Promise<void> {
  const config = readConfig(environment);
  const result = await initialize(config, await adapters(), () => undefined);
  print(command, { dataDir: config.dataDir, ...result }, () => [
    result.done.length === 0
      ? `${config.dataDir} is complete: nothing to do`
      : `made in ${config.dataDir}: ${result.done.join(', ')}`,
    // The database's first token is on the machine that made the database.
    existsSync(result.bootstrapTokenFile)
      ? `the administrator's first token is in ${result.bootstrapTokenFile}`
      : `this database had its first token before: no file ${result.bootstrapTokenFile}`,
  ]);
}
