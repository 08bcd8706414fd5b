import type { Command } from 'commander';
import type { LocalEncryption, Progress as OnProgress } from '../client/node/index.ts';
import { interruptible } from './interrupt.ts';
import { collectPair, type Pairs, withExamples } from './options.ts';
import { createProgress, formatBytes, formatSeconds } from './progress.ts';
import { addRewrapCommand } from './rewrap.ts';
import type { Surroundings } from './surroundings.ts';

const suffix = '.stathera';

interface FileOptions {
  readonly output?: string;
  readonly context?: Pairs;
  readonly associatedData?: string;
  readonly force?: true;
  readonly quiet?: true;
}

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
        file,
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
        const output = options.output ?? (isPipe(file) ? '-' : nameWithin(command, file));
        if (options.unsafePipe && output !== '-')
          command.error('error: --unsafe-pipe is for output to stdout: add -o -, or leave it out');
        await transform(command, surroundings, { verb: 'decrypt', file, output });
      },
    );
  withExamples(
    decrypt,
    'stathera decrypt report.pdf.stathera --context report=2026',
    'stathera decrypt shop.stathera -o - | psql shop',
  );
  addRewrapCommand(program, surroundings);
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

function isPipe(file: string | undefined): file is '-' | undefined {
  return file === undefined || file === '-';
}

/** The name that a file had before it was encrypted. */
function nameWithin(command: Command, file: string): string {
  if (file.endsWith(suffix) && !/(?:^|\/)\.stathera$/.test(file)) return file.slice(0, -suffix.length);
  return command.error(`error: ${file} does not end with ${suffix}: say with -o where the plaintext goes`);
}

interface Work {
  readonly verb: 'encrypt' | 'decrypt';
  readonly file: string | undefined;
  /** `-` is stdout. */
  readonly output: string;
}

async function transform(command: Command, { client }: Surroundings, work: Work): Promise<void> {
  const { verb, file, output } = work;
  const options = command.optsWithGlobals<FileOptions & { key?: string; json?: true; unsafePipe?: true }>();
  if (output === '-' && process.stdout.isTTY && verb === 'encrypt')
    command.error('error: a terminal cannot show a ciphertext: redirect stdout, or name a file with -o');
  const quiet = options.quiet === true || options.json === true;
  const label = isPipe(file) ? 'stdin' : file;
  const progress = createProgress(label, { terminal: quiet ? undefined : process.stderr });
  const started = performance.now();
  let bytes = 0;
  const onProgress = (done: number, total: number | undefined): void => {
    bytes = done;
    progress.update(done, total);
  };
  try {
    await interruptible(async (signal) => {
      const { createLocalEncryption } = await import('../client/node/index.ts');
      const { key } = options;
      const local = createLocalEncryption({ client: await client(), ...(key !== undefined && { key }) });
      await carry(local, { ...work, options, onProgress, signal });
    });
  } finally {
    progress.clear();
  }
  const seconds = (performance.now() - started) / 1000;
  report(options, { ...work, file: label, bytes, seconds });
}

async function carry(
  local: LocalEncryption,
  work: Work & { options: FileOptions & { unsafePipe?: true }; onProgress: OnProgress; signal: AbortSignal },
): Promise<void> {
  const { openInput, writeToStdout } = await import('./pipes.ts');
  const { encryptFile, decryptFile, decryptFileStream } = await import('../client/node/index.ts');
  const { verb, file, output, options, onProgress, signal } = work;
  const { context = {}, associatedData = '', force = false, unsafePipe = false } = options;
  const place = { context, associatedData: new TextEncoder().encode(associatedData), signal };
  const input = openInput(isPipe(file) ? undefined : file, onProgress, signal);
  if (output !== '-') {
    const from = input.path === undefined ? { from: input.pieces } : { from: input.path, onProgress };
    const carryFile = verb === 'encrypt' ? encryptFile : decryptFile;
    await carryFile(local, { ...place, ...from, to: output, overwrite: force });
  } else if (verb === 'encrypt') {
    await writeToStdout(local.encryptStream(input.pieces, place), signal);
  } else if (input.path === undefined || unsafePipe) {
    await writeToStdout(local.decryptStream(input.pieces, { ...place, unsafePipe }), signal);
  } else await writeToStdout(decryptFileStream(local, { ...place, from: input.path, onProgress }), signal);
}

function report(
  { json, quiet }: { json?: true; quiet?: true },
  { verb, file, output, bytes, seconds }: Work & { bytes: number; seconds: number },
): void {
  const done = {
    operation: verb,
    input: file,
    output,
    bytesRead: bytes,
    seconds: Number(seconds.toFixed(3)),
  };
  // Where stdout has the data, stderr has what is said about them.
  if (json) (output === '-' ? console.error : console.log)(JSON.stringify(done));
  else if (process.stderr.isTTY && quiet !== true) {
    const rate = `${formatBytes(bytes / seconds)}/s`;
    console.error(
      `${verb}ed ${file} to ${output}: ${formatBytes(bytes)} in ${formatSeconds(seconds)}, ${rate}`,
    );
  }
}
