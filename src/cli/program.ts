import { Command, CommanderError } from 'commander';
import type { Adapters } from '../adapters.ts';
import type { Environment } from '../config.ts';
import { version } from '../version.ts';
import { addAuditCommands } from './audit.ts';
import { addBenchCommand } from './bench.ts';
import { addCompletionCommand } from './completion.ts';
import { addContributeCommand } from './contribute.ts';
import { addDatasetCommands } from './datasets.ts';
import { addFileCommands } from './files.ts';
import { programHelp } from './help.ts';
import { addHsmCommands } from './hsm.ts';
import { Interrupted } from './interrupt.ts';
import { addJobCommands } from './jobs.ts';
import { addKeyCommands } from './keys.ts';
import { addMachineCommands } from './machine.ts';
import { addNamespaceCommands } from './namespaces.ts';
import { withExamples } from './options.ts';
import { addRotationCommands } from './rotation.ts';
import { addSignatureCommands } from './signatures.ts';
import type { Surroundings } from './surroundings.ts';
import { addTokenCommands } from './tokens.ts';
import { addWebhookCommands } from './webhooks.ts';

/** Whoever read stdout has gone, as a process ends that SIGPIPE ends. */
const closedPipe = 141;

/** Every command, with its help. What a command works with is loaded when it runs. */
export function createProgram(surroundings: Surroundings): Command {
  const program = new Command('stathera')
    .description(
      'A key-management service whose keys live in a PKCS#11 HSM: the service, and what it takes to use it',
    )
    .version(version, '-V, --version', 'print the version')
    .option('--json', 'print JSON for programs; errors too, on stderr')
    .helpOption('-h, --help', 'explain a command')
    .helpCommand('help [command]', 'explain a command')
    .exitOverride()
    .showHelpAfterError('(stathera --help lists the commands)');
  addFileCommands(program, surroundings);
  addSignatureCommands(program, surroundings);
  addContributeCommand(program, surroundings);
  addKeyCommands(program, surroundings);
  addRotationCommands(program, surroundings);
  addTokenCommands(program, surroundings);
  addNamespaceCommands(program, surroundings);
  addJobCommands(program, surroundings);
  addWebhookCommands(program, surroundings);
  addDatasetCommands(program, surroundings);
  addAuditCommands(program, surroundings);
  addBenchCommand(program, surroundings);
  addMachineCommands(program, surroundings);
  addHsmCommands(program, surroundings);
  addCompletionCommand(program);
  withExamples(program, 'stathera keys create payments', 'stathera encrypt --key payments report.pdf');
  return program.addHelpText('after', programHelp);
}

/** Runs one command. @returns the exit code; errors are one clear line on stderr */
export async function runCommandLine(
  argv: readonly string[],
  environment: Environment,
  adapters: () => Promise<Adapters>,
): Promise<number> {
  let code = 0;
  const program = createProgram({
    environment,
    adapters,
    client: async (options) => (await import('./connect.ts')).connect(environment, options),
    exit: (value) => {
      code = value;
    },
  });
  process.stdout.on('error', (error) => {
    if (codeOf(error) === 'EPIPE') process.exit(closedPipe);
  });
  try {
    await program.parseAsync([...argv]);
    return code;
  } catch (error) {
    return await ended(error, program, environment);
  }
}

/** Says what went wrong. @returns the exit code; does not return after a signal */
async function ended(error: unknown, program: Command, environment: Environment): Promise<number> {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  // What waits for a pipe that nobody writes to would hold the process.
  if (error instanceof Interrupted) process.exit(error.exitCode);
  if (codeOf(error) === 'EPIPE') return closedPipe;
  const { explain } = await import('./explain.ts');
  const text = explain(error, environment);
  const said = { error: { code: codeOf(error), message: text } };
  console.error(program.opts()['json'] === true ? JSON.stringify(said) : `stathera: ${text}`);
  return 1;
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
