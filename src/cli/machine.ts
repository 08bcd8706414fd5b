import type { Command } from 'commander';
import { withExamples } from './options.ts';
import type { Surroundings } from './surroundings.ts';

/** The commands that work on this machine's data directory, token and database. */
export function addMachineCommands(program: Command, surroundings: Surroundings): void {
  const serve = program
    .command('serve')
    .description('run the service until SIGTERM or SIGINT')
    .action(async () => (await import('./serve.ts')).serve(surroundings));
  withExamples(serve, 'STATHERA_LISTEN=127.0.0.1:8300 stathera serve');

  const init = program
    .command('init')
    .description(
      'make the token, the database and the first administrator token; finishes what an earlier run left',
    )
    .action(async (_options, command: Command) => (await import('./init.ts')).init(command, surroundings));
  withExamples(init, 'STATHERA_DATA_DIR=/var/lib/stathera stathera init');

  const doctor = program
    .command('doctor')
    .description(
      'check this machine: settings, files, token, database, disk, TLS, clock and backups; leaves all as it is',
    )
    .action(async (_options, command: Command) =>
      (await import('./doctor/doctor.ts')).doctor(command, surroundings),
    );
  const store = program.command('store').description('the database of the service');
  const copy = store
    .command('copy')
    .description('move a stopped service from SQLite to the PostgreSQL of the settings, which must be empty')
    .option('--from <file>', 'the SQLite database; default `stathera.db` in the data directory')
    .option('--yes', 'do it; without, what would be copied is shown')
    .action(async (options: { from?: string; yes?: true }, command: Command) =>
      (await import('./store.ts')).copy(options, command, surroundings),
    );
  withExamples(copy, 'stathera store copy', 'stathera store copy --yes');
  withExamples(doctor, 'stathera doctor', 'stathera doctor --json');
}
