import type { Command } from 'commander';
import { withExamples } from './options.ts';
import type { Surroundings } from './surroundings.ts';

/** The ceremony by which a second token, on this machine or another, is given the keys of the first. */
export function addHsmCommands(program: Command, surroundings: Surroundings): void {
  const hsm = program
    .command('hsm')
    .description('the tokens of a service: list them, let another one in, take one out');
  const list = hsm
    .command('list')
    .description('list the tokens that are enrolled, and the system keys they have')
    .action(async (_options, command: Command) =>
      (await import('./enrolled.ts')).list(command, surroundings),
    );
  withExamples(list, 'stathera hsm list');

  const remove = hsm
    .command('remove')
    .description('take a token out: its node does not start any more, and new keys are not for it')
    .argument('<root>', 'the id of its root, as `hsm list` shows it')
    .option('--yes', 'do it; without, the token is only shown')
    .action(async (root: string, options: { yes?: true }, command: Command) =>
      (await import('./enrolled.ts')).remove(root, options, command, surroundings),
    );
  withExamples(remove, 'stathera hsm remove 01a20f02-05cf-772d-92be-fe87417fdc94 --yes');

  const enrol = hsm
    .command('enrol')
    .description(
      'bring a new token in: request on its node, approve on one that is enrolled, accept on its node',
    );

  const request = enrol
    .command('request')
    .description('make this node’s token where there is none, and ask with it for the keys of the service')
    .option('-o, --output <file>', 'where to write the request; default in the data directory')
    .action(async (options: { output?: string }, command: Command) =>
      (await import('./enrol.ts')).request(options, command, surroundings),
    );
  withExamples(request, 'stathera hsm enrol request -o node-b.request');

  const approve = enrol
    .command('approve')
    .argument('<file>', 'the file that `request` wrote')
    .description('hand the keys of the service over to the token of a request; needs a node that is enrolled')
    .option('--fingerprint <hex>', 'what `request` printed; without, only what would be done is shown')
    .action(async (file: string, options: { fingerprint?: string }, command: Command) =>
      (await import('./enrol.ts')).approve(file, options, command, surroundings),
    );
  withExamples(
    approve,
    'stathera hsm enrol approve node-b.request',
    'stathera hsm enrol approve node-b.request --fingerprint "$(cat fingerprint-read-to-me)"',
  );

  const accept = enrol
    .command('accept')
    .description('take the keys that were handed over to this node’s token; then the service starts here')
    .requiredOption('--confirmation <hex>', 'what `approve` printed')
    .action(async (options: { confirmation: string }, command: Command) =>
      (await import('./enrol.ts')).accept(options, command, surroundings),
    );
  const second = enrol
    .command('second')
    .description('let this node’s second token in: all three steps at once, for both tokens are here')
    .action(async (_options, command: Command) => (await import('./enrol.ts')).second(command, surroundings));
  withExamples(second, 'stathera hsm enrol second');
  withExamples(accept, 'stathera hsm enrol accept --confirmation 0f1e2d3c4b5a69788796a5b4c3d2e1f0');
}
