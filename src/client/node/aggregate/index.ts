import { Worker } from 'node:worker_threads';
import { createContribute, encryptionFailed } from '../../aggregate/contribute.ts';
import type { Encrypt, EncryptAnswer } from '../../aggregate/encrypting.ts';

export type { Contributed, ContributeOptions, ContributeService } from '../../aggregate/contribute.ts';
export { type EpochManifest, type ManifestColumn, verifyManifest } from '../../aggregate/manifest.ts';
export { type Row, RowRefused } from '../../aggregate/tally.ts';

// Named as the build names it, and beside it in the sources.
const workerFile = import.meta.url.endsWith('.ts') ? './encrypt-worker.ts' : './encrypt-worker.js';

const encrypt: Encrypt = (request, signal) =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const worker = new Worker(new URL(workerFile, import.meta.url), { workerData: request, execArgv: [] });
    let answer: EncryptAnswer | undefined;
    const abort = (): void => void worker.terminate();
    signal?.addEventListener('abort', abort);
    worker.on('message', (message: EncryptAnswer) => {
      answer = message;
    });
    worker.on('error', () => undefined);
    worker.on('exit', () => {
      signal?.removeEventListener('abort', abort);
      if (signal?.aborted) reject(signal.reason as Error);
      else if (answer && 'ciphertexts' in answer) resolve(answer.ciphertexts);
      else reject(encryptionFailed());
    });
  });

export const contribute = createContribute(encrypt);
