import type { Command } from 'commander';
import { isPipe } from './names.ts';
import { wholeNumber, withExamples } from './options.ts';
import { print } from './output.ts';
import type { Surroundings } from './surroundings.ts';

const suffix = '.sig';

interface Options {
  readonly key: string;
  readonly context?: string;
}

export function addSignatureCommands(program: Command, { client }: Surroundings): void {
  const sign = program
    .command('sign')
    .description('sign a file or a pipe; of a large one only its hash is sent')
    .argument('[file]', 'what to sign; - or nothing is stdin')
    .requiredOption('-k, --key <key>', 'name or id of the key')
    .option(
      '-o, --output <file>',
      `where the signature goes; - is stdout (default: FILE${suffix}, of stdin stdout)`,
    )
    .option('--context <text>', 'bound into the signature, where the algorithm has a context')
    .option('-f, --force', 'write over a file of that name')
    .action(
      async (
        file: string | undefined,
        options: Options & { output?: string; force?: true },
        command: Command,
      ) => {
        const { key, context, force } = options;
        const output = options.output ?? (isPipe(file) ? '-' : `${file}${suffix}`);
        if (output === '-' && process.stdout.isTTY)
          command.error('error: a terminal cannot show a signature: redirect stdout, or name a file with -o');
        const service = await client();
        const { readSigned, writeSignature } = await import('./signed-files.ts');
        const shown = await service.getPublicKey({ key });
        const content = await readSigned(isPipe(file) ? undefined : file, shown, context);
        const { signature, ...made } = await service.sign({ key, ...content });
        await writeSignature({ output, force: force === true }, signature, { made, shown, content });
        if (output !== '-') {
          const said = { ...made, output, signatureBytes: signature.length };
          print(command, said, () => [`signed with version ${made.keyVersion} of the key: ${output}`]);
        }
      },
    );
  withExamples(
    sign,
    'stathera sign --key releases shop.tar.gz',
    'git archive HEAD | stathera sign --key releases -o head.sig',
  );

  const verify = program
    .command('verify')
    .description('verify the signature of a file or a pipe; the exit code is 1 unless it holds')
    .argument('[file]', 'what was signed; - or nothing is stdin')
    .requiredOption('-k, --key <key>', 'name or id of the key')
    .option('-s, --signature <file>', `the signature (default: FILE${suffix})`)
    .option('--context <text>', 'that it was signed with')
    .option(
      '--key-version <number>',
      'the version that signed (default: the current one)',
      wholeNumber(1, 999_999_999),
    )
    .action(
      async (
        file: string | undefined,
        options: Options & { signature?: string; keyVersion?: number },
        command: Command,
      ) => {
        const { key, context, keyVersion: version } = options;
        if (options.signature === undefined && isPipe(file))
          command.error('error: name the file of the signature with --signature');
        const service = await client();
        const { readSignature, readSigned } = await import('./signed-files.ts');
        const signature = await readSignature(options.signature ?? `${file}${suffix}`);
        const named = { key, ...(version !== undefined && { version }) };
        const shown = await service.getPublicKey(named);
        const content = await readSigned(isPipe(file) ? undefined : file, shown, context);
        // Of the version that was shown: another may be the current one by now.
        const verified = await service.verify({ key, version: shown.keyVersion, signature, ...content });
        print(command, verified, () => [`the signature holds: version ${verified.keyVersion} of the key`]);
      },
    );
  withExamples(
    verify,
    'stathera verify --key releases shop.tar.gz',
    'git archive HEAD | stathera verify --key releases --signature head.sig --key-version 2',
  );
}
