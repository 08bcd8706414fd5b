import type { Command } from 'commander';
import {
  sealFile,
  sealStream,
  unsealFile,
  unsealFileStream,
  unsealStream,
} from '../client/node/sealed-files.ts';
import { recipientLimit } from '../crypto/payload/sealed-format.ts';
import { openInput, writeToStdout } from './pipes.ts';
import { readSealingKeys } from './public-keys.ts';
import type { Surroundings } from './surroundings.ts';
import { type Carrying, transform, type Work } from './transform.ts';

export interface SealOptions {
  /** Files with public keys. */
  readonly to: readonly string[];
  readonly fingerprint?: readonly string[];
  readonly output?: string;
  readonly associatedData?: string;
  readonly force?: true;
  readonly quiet?: true;
}

export interface UnsealOptions extends Omit<SealOptions, 'to' | 'fingerprint'> {
  readonly key?: string;
  readonly unsafePipe?: true;
}

/** Seals one file or pipe to public keys; asks no service for anything. */
export async function seal(command: Command, work: Omit<Work, 'verb'>): Promise<void> {
  const { to, fingerprint, ...options } = command.optsWithGlobals<SealOptions>();
  if (to.length > recipientLimit) command.error(`error: --to is for ${recipientLimit} public keys at most`);
  const keys = readSealingKeys(to, fingerprint);
  await transform(command, { ...work, verb: 'seal' }, async ({ file, output, onProgress, signal }) => {
    const input = openInput(file, onProgress, signal);
    const bound = boundBy(options, signal);
    if (output === '-') await writeToStdout(sealStream(keys, input.pieces, bound), signal);
    else {
      const from = input.path === undefined ? { from: input.pieces } : { from: input.path, onProgress };
      await sealFile(keys, { ...bound, ...from, to: output, overwrite: options.force === true });
    }
  });
}

/** Unseals one file or pipe: the service opens its data key. */
export async function unseal(
  command: Command,
  surroundings: Surroundings,
  work: Omit<Work, 'verb'>,
): Promise<void> {
  const options = command.optsWithGlobals<UnsealOptions>();
  await transform(command, { ...work, verb: 'unseal' }, (carrying) =>
    carryUnsealed(surroundings, carrying, options),
  );
}

async function carryUnsealed(
  { client }: Surroundings,
  { file, output, onProgress, signal }: Carrying,
  options: UnsealOptions,
): Promise<void> {
  const service = await client();
  const input = openInput(file, onProgress, signal);
  const { key, unsafePipe = false } = options;
  const bound = { ...boundBy(options, signal), ...(key !== undefined && { key }) };
  if (output !== '-') {
    const from = input.path === undefined ? { from: input.pieces } : { from: input.path, onProgress };
    await unsealFile(service, { ...bound, ...from, to: output, overwrite: options.force === true });
  } else if (input.path === undefined || unsafePipe)
    await writeToStdout(unsealStream(service, input.pieces, { ...bound, unsafePipe }), signal);
  else await writeToStdout(unsealFileStream(service, { ...bound, from: input.path, onProgress }), signal);
}

function boundBy({ associatedData = '' }: { associatedData?: string }, signal: AbortSignal) {
  return { associatedData: new TextEncoder().encode(associatedData), signal };
}
