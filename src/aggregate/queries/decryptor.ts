import { fork } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { wipe } from '../../core/bytes.ts';
import { ServiceError } from '../../core/errors.ts';
import { siblingModule } from '../../core/sibling-module.ts';
import type { DecryptorAnswer, DecryptorRequest } from './decryptor-process.ts';

/**
 * Has an answer computed in a process of its own, which ends with it.
 * @param request its keys' seeds are wiped when the process has them
 * @param residues of the ciphertexts, in the order that `release` takes them
 * @throws internal, for every reason with one text; the signal's reason
 */
export type Decrypt = (
  request: DecryptorRequest,
  residues: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
) => Promise<DecryptorAnswer>;

/** The most that an epoch takes, 16 ciphertexts of each of 131,072 contributions, is some 20 minutes. */
const timeoutMilliseconds = 45 * 60_000;
/** SEAL's memory may grow to 256 MiB, JavaScript's to 128. */
const memory = ['--wasm-max-mem-pages=4096', '--max-old-space-size=128', '--max-semi-space-size=2'];

/** How the process is started: what it runs, what it is told, and what it may do. */
export function confinedStart() {
  const seal = realpathSync(fileURLToPath(import.meta.resolve('node-seal')));
  const program = realpathSync(fileURLToPath(siblingModule(import.meta.url, 'decryptor-process')));
  const reads = readable(program, seal).map((path) => `--allow-fs-read=${path}`);
  return { program, args: [pathToFileURL(seal).href], execArgv: [...memory, '--permission', ...reads] };
}

export function createDecrypt(): Decrypt {
  const { program, args, execArgv } = confinedStart();

  return async (request, residues, signal) => {
    signal.throwIfAborted();
    const child = fork(program, args, {
      execArgv,
      env: {},
      serialization: 'advanced',
      stdio: ['pipe', 'ignore', 'ignore', 'ipc'],
    });
    const kill = () => void child.kill('SIGKILL');
    const timer = setTimeout(kill, timeoutMilliseconds);
    signal.addEventListener('abort', kill, { once: true });
    try {
      const answered = new Promise<DecryptorAnswer>((resolve, reject) => {
        let answer: DecryptorAnswer | undefined;
        child.on('message', (message) => {
          answer = message as DecryptorAnswer;
        });
        child.on('error', () => reject(failed()));
        child.on('exit', () => (answer ? resolve(answer) : reject(failed())));
      });
      answered.catch(() => undefined);
      child.send(request, (error) => {
        wipe(...request.keys.map(({ seed }) => seed));
        if (error) kill();
      });
      const { stdin } = child;
      if (stdin === null) throw failed();
      // Where it ends before it has read all, its end says why.
      const fed = pipeline(Readable.from(residues, { objectMode: true, highWaterMark: 1 }), stdin).catch(
        (error: unknown) => (child.connected && isOwn(error) ? Promise.reject(error as Error) : undefined),
      );
      await Promise.race([fed.then(() => answered), answered]);
      return await answered;
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', kill);
      kill();
    }
  };
}

/** Of what feeds it: a broken pipe is its own end. */
function isOwn(error: unknown): boolean {
  return !['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'].includes(
    (error as { code?: string } | null)?.code ?? '',
  );
}

/** What the process may read: the service's code, which names its type in the package.json above, and SEAL. */
function readable(own: string, seal: string): string[] {
  const code = own.slice(0, own.lastIndexOf('/aggregate/') + 1);
  const root = code.slice(0, code.lastIndexOf('/', code.length - 2) + 1);
  const sealPackage = seal.slice(0, seal.lastIndexOf('/node-seal/') + '/node-seal/'.length);
  return [code, `${root}package.json`, sealPackage];
}

function failed(): ServiceError {
  return new ServiceError('internal', 'The answer could not be computed.', {
    cause: new Error('the process that decrypts gave no answer'),
  });
}
