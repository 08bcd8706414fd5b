import type { Command } from 'commander';
import type { LocalEncryption } from '../client/local.ts';
import {
  decryptFile,
  decryptFileStream,
  encryptFile,
  type Progress as OnProgress,
} from '../client/node/files.ts';
import { createLocalEncryption } from '../client/node/local.ts';
import { interruptible } from './interrupt.ts';
import type { Pairs } from './options.ts';
import { openInput, writeToStdout } from './pipes.ts';
import { createProgress, formatBytes, formatSeconds } from './progress.ts';
import type { Surroundings } from './surroundings.ts';

export interface FileOptions {
  readonly output?: string;
  readonly context?: Pairs;
  readonly associatedData?: string;
  readonly force?: true;
  readonly quiet?: true;
}

export interface Work {
  readonly verb: 'encrypt' | 'decrypt';
  /** Undefined is stdin. */
  readonly file: string | undefined;
  /** `-` is stdout. */
  readonly output: string;
}

/** Encrypts or decrypts one file or pipe, shows how far it is and says what was done. */
export async function transform(command: Command, { client }: Surroundings, work: Work): Promise<void> {
  const { verb, file, output } = work;
  const options = command.optsWithGlobals<FileOptions & { key?: string; json?: true; unsafePipe?: true }>();
  if (output === '-' && process.stdout.isTTY && verb === 'encrypt')
    command.error('error: a terminal cannot show a ciphertext: redirect stdout, or name a file with -o');
  const quiet = options.quiet === true || options.json === true;
  const label = file ?? 'stdin';
  const progress = createProgress(label, { terminal: quiet ? undefined : process.stderr });
  const started = performance.now();
  let bytes = 0;
  const onProgress = (done: number, total: number | undefined): void => {
    bytes = done;
    progress.update(done, total);
  };
  try {
    await interruptible(async (signal) => {
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
  const { verb, file, output, options, onProgress, signal } = work;
  const { context = {}, associatedData = '', force = false, unsafePipe = false } = options;
  const place = { context, associatedData: new TextEncoder().encode(associatedData), signal };
  const input = openInput(file, onProgress, signal);
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
