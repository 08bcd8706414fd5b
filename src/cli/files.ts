import type { Command } from 'commander';
import type { FileOptions } from './local-files.ts';
import { isPipe, nameWithin } from './names.ts';
import { collectPair, withExamples } from './options.ts';
import { addRewrapCommand } from './rewrap.ts';
import { addSealCommands } from './seal.ts';
import type { Surroundings } from './surroundings.ts';
import type { Work } from './transform.ts';

const suffix = '.stathera';

export function addFileCommands(program: Command, surroundings: Surroundings): void {
  const encrypt = program
    .command('encrypt')
    .description('encrypt a file or a pipe of any size here, under a data key that the service wraps')
    .argument('[file]', 'what to encrypt; - or nothing is stdin')
    .requiredOption('-k, --key <key>', 'name or id of the key that wraps the data key')
    .option('-o, --output <file>', `where to; - is stdout (default: FILE${suffix}, of stdin stdout)`);
  addCommonOptions(encrypt);
  encrypt.action(
    async (file: string | undefined, options: FileOptions & { key: string }, command: Command) => {
      await transform(command, surroundings, {
        verb: 'encrypt',
        file: isPipe(file) ? undefined : file,
        output: options.output ?? (isPipe(file) ? '-' : `${file}${suffix}`),
      });
    },
  );
  withExamples(
    encrypt,
    'stathera encrypt --key payments report.pdf --context report=2026',
    "pg_dump shop | stathera encrypt --key backups > 'shop.stathera'",
  );

  const decrypt = program
    .command('decrypt')
    .description('decrypt a file or a pipe; nothing is given out before all of it is verified')
    .argument('[file]', 'what to decrypt; - or nothing is stdin')
    .option(
      '-o, --output <file>',
      `where to; - is stdout (default: FILE without ${suffix}, of stdin stdout)`,
    );
  addCommonOptions(decrypt);
  decrypt
    .option(
      '--unsafe-pipe',
      'to stdout at once, without reading the input twice or keeping it on disk first. Gives up one thing: that ' +
        'the input was cut off is noticed at its end, when its beginning has been used. Then the exit code is 1, ' +
        'and what came out must be thrown away.',
    )
    .action(
      async (file: string | undefined, options: FileOptions & { unsafePipe?: true }, command: Command) => {
        const output = options.output ?? (isPipe(file) ? '-' : nameWithin(command, file, suffix));
        if (options.unsafePipe && output !== '-')
          command.error('error: --unsafe-pipe is for output to stdout: add -o -, or leave it out');
        await transform(command, surroundings, {
          verb: 'decrypt',
          file: isPipe(file) ? undefined : file,
          output,
        });
      },
    );
  withExamples(
    decrypt,
    'stathera decrypt report.pdf.stathera --context report=2026',
    'stathera decrypt shop.stathera -o - | psql shop',
  );
  addRewrapCommand(program, surroundings);
  addSealCommands(program, surroundings);
}

async function transform(
  command: Command,
  surroundings: Surroundings,
  work: Work & { readonly verb: 'encrypt' | 'decrypt' },
): Promise<void> {
  await (await import('./local-files.ts')).transformLocally(command, surroundings, work);
}

function addCommonOptions(command: Command): void {
  command
    .option(
      '-c, --context <name=value>',
      'authenticated by the service with the data key, not encrypted; may be repeated',
      collectPair,
    )
    .option('--associated-data <text>', 'authenticated here and never sent: what ties the data to its place')
    .option('-f, --force', 'write over a file of that name')
    .option('-q, --quiet', 'show no progress');
}
