import type { Command } from 'commander';
import type { Progress as OnProgress } from '../client/node/reading.ts';
import { interruptible } from './interrupt.ts';
import { createProgress, formatBytes, formatSeconds } from './progress.ts';

export interface Work {
  readonly verb: 'encrypt' | 'decrypt' | 'seal' | 'unseal';
  /** Undefined is stdin. */
  readonly file: string | undefined;
  /** `-` is stdout. */
  readonly output: string;
}

/** What the work itself needs: to say how far it is, and to be ended. */
export interface Carrying extends Work {
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

interface Shown {
  readonly json?: true;
  readonly quiet?: true;
}

/** Carries one file or pipe to another, shows how far it is and says what was done. */
export async function transform(
  command: Command,
  work: Work,
  carry: (carrying: Carrying) => Promise<void>,
): Promise<void> {
  const { verb, file, output } = work;
  const options = command.optsWithGlobals<Shown>();
  if (output === '-' && process.stdout.isTTY && (verb === 'encrypt' || verb === 'seal'))
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
    await interruptible((signal) => carry({ ...work, onProgress, signal }));
  } finally {
    progress.clear();
  }
  const seconds = (performance.now() - started) / 1000;
  report(options, { ...work, file: label, bytes, seconds });
}

function report(
  { json, quiet }: Shown,
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
