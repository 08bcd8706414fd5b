import type { Command } from 'commander';
import { decryptFile, decryptFileStream, encryptFile } from '../client/node/files.ts';
import { createLocalEncryption } from '../client/node/local.ts';
import type { Pairs } from './options.ts';
import { openInput, writeToStdout } from './pipes.ts';
import type { Surroundings } from './surroundings.ts';
import { type Carrying, transform, type Work } from './transform.ts';

export interface FileOptions {
  readonly output?: string;
  readonly context?: Pairs;
  readonly associatedData?: string;
  readonly force?: boolean;
  readonly quiet?: true;
}

type Options = FileOptions & { readonly key?: string; readonly unsafePipe?: boolean };

/** Encrypts or decrypts one file or pipe under a data key that the service wraps. */
export async function transformLocally(
  command: Command,
  { client }: Surroundings,
  work: Work & { readonly verb: 'encrypt' | 'decrypt' },
): Promise<void> {
  const options = command.optsWithGlobals<Options>();
  await transform(command, work, (carrying) => carry(client, carrying, options));
}

async function carry(
  client: Surroundings['client'],
  { verb, file, output, onProgress, signal }: Carrying,
  { key, context = {}, associatedData = '', force = false, unsafePipe = false }: Options,
): Promise<void> {
  const local = createLocalEncryption({ client: await client(), ...(key !== undefined && { key }) });
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
