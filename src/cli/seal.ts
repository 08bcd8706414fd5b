import type { Command } from 'commander';
import { isPipe, nameWithin } from './names.ts';
import { collectText, withExamples } from './options.ts';
import type { SealOptions, UnsealOptions } from './sealed-files.ts';
import type { Surroundings } from './surroundings.ts';

const suffix = '.sealed';

export function addSealCommands(program: Command, surroundings: Surroundings): void {
  const seal = program
    .command('seal')
    .description(
      'seal a file or a pipe of any size to public keys, without the service: each of them opens it',
    )
    .argument('[file]', 'what to seal; - or nothing is stdin')
    .requiredOption(
      '-t, --to <file>',
      'a public key that `stathera keys public-key` printed; up to 64',
      collectText,
    )
    .option(
      '--fingerprint <hex>',
      'SHA-256 that a public key must have, from its owner; given once, every one of them needs one',
      collectText,
    )
    .option('-o, --output <file>', `where to; - is stdout (default: FILE${suffix}, of stdin stdout)`);
  addCommonOptions(seal);
  seal.action(async (file: string | undefined, options: SealOptions, command: Command) => {
    const output = options.output ?? (isPipe(file) ? '-' : `${file}${suffix}`);
    const { seal: run } = await import('./sealed-files.ts');
    await run(command, { file: isPipe(file) ? undefined : file, output });
  });
  withExamples(
    seal,
    'stathera seal --to alice.pub --to archive.pub report.pdf',
    'pg_dump shop | stathera seal --to backups.pub --fingerprint 3f1c…a9 > shop.sealed',
  );

  const unseal = program
    .command('unseal')
    .description('open what was sealed; nothing is given out before all of it is verified')
    .argument('[file]', 'what to open; - or nothing is stdin')
    .option(
      '-k, --key <key>',
      'name or id of the key to open it with (default: whichever of the keys the token may use)',
    )
    .option(
      '-o, --output <file>',
      `where to; - is stdout (default: FILE without ${suffix}, of stdin stdout)`,
    );
  addCommonOptions(unseal);
  unseal
    .option(
      '--unsafe-pipe',
      'to stdout at once, as with `stathera decrypt`: that the input was cut off is noticed at its end alone',
    )
    .action(async (file: string | undefined, options: UnsealOptions, command: Command) => {
      const output = options.output ?? (isPipe(file) ? '-' : nameWithin(command, file, suffix));
      if (options.unsafePipe && output !== '-')
        command.error('error: --unsafe-pipe is for output to stdout: add -o -, or leave it out');
      const { unseal: run } = await import('./sealed-files.ts');
      await run(command, surroundings, { file: isPipe(file) ? undefined : file, output });
    });
  withExamples(unseal, 'stathera unseal report.pdf.sealed', 'stathera unseal shop.sealed -o - | psql shop');
}

function addCommonOptions(command: Command): void {
  command
    .option('--associated-data <text>', 'authenticated here and never sent: what ties the data to its place')
    .option('-f, --force', 'write over a file of that name')
    .option('-q, --quiet', 'show no progress');
}
