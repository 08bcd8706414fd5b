import { Command, CommanderError } from 'commander';
import type { Adapters } from '../adapters.ts';
import { StatheraError } from '../client/errors.ts';
import { ConfigError, type Environment } from '../config.ts';
import { ServiceError } from '../core/errors.ts';
import { version } from '../version.ts';
import { addAuditCommands } from './audit.ts';
import { explain } from './connect.ts';
import { addDoctorCommand } from './doctor/doctor.ts';
import { addInitCommand } from './init.ts';
import { addKeyCommands } from './keys.ts';
import { addServeCommand } from './serve.ts';
import type { Surroundings } from './surroundings.ts';

/** Runs one command. @returns the exit code; errors are one clear line on stderr */
export async function runCommandLine(
  argv: readonly string[],
  environment: Environment,
  adapters: Adapters,
): Promise<number> {
  let code = 0;
  const surroundings: Surroundings = {
    environment,
    adapters,
    exit: (value) => {
      code = value;
    },
  };
  const program = new Command('stathera')
    .description('A key-management service whose keys live in a PKCS#11 HSM')
    .version(version)
    .option('--json', 'print JSON for programs')
    .exitOverride()
    .showHelpAfterError('(stathera --help lists the commands)');
  addServeCommand(program, surroundings);
  addInitCommand(program, surroundings);
  addDoctorCommand(program, surroundings);
  addKeyCommands(program, surroundings);
  addAuditCommands(program, surroundings);
  try {
    await program.parseAsync([...argv]);
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    console.error(`stathera: ${textOf(error, environment)}`);
    return 1;
  }
}

function textOf(error: unknown, environment: Environment): string {
  if (error instanceof StatheraError) return explain(error, environment);
  if (error instanceof ServiceError) return error.detail;
  if (error instanceof ConfigError) return error.message;
  if (error instanceof Error && 'syscall' in error) return error.message;
  return error instanceof Error ? `${error.name}: ${error.message}` : 'failed';
}
