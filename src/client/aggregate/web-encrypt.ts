import { createContribute, encryptionFailed } from './contribute.ts';
import type { Encrypt, EncryptAnswer, EncryptRequest } from './encrypting.ts';

// Its type comes with those of browsers, which nothing else here has.
interface WebWorker {
  addEventListener(type: 'message', listener: (event: { readonly data: EncryptAnswer }) => void): void;
  addEventListener(type: 'error', listener: () => void): void;
  postMessage(message: EncryptRequest, transfer: readonly []): void;
  terminate(): void;
}
type WorkerClass = new (url: URL, options: { readonly type: 'module' }) => WebWorker;

const encrypt: Encrypt = (request, signal) => {
  const { Worker } = globalThis as unknown as { readonly Worker: WorkerClass };
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    // Bundlers find the file by this form, and build it as a program of its own.
    const worker = new Worker(new URL('./web-encrypt-worker.js', import.meta.url), { type: 'module' });
    const end = (): void => {
      worker.terminate();
      signal?.removeEventListener('abort', abort);
    };
    const abort = (): void => {
      end();
      reject(signal?.reason as Error);
    };
    signal?.addEventListener('abort', abort);
    worker.addEventListener('message', ({ data }) => {
      end();
      if ('ciphertexts' in data) resolve(data.ciphertexts);
      else reject(encryptionFailed());
    });
    worker.addEventListener('error', () => {
      end();
      reject(encryptionFailed());
    });
    worker.postMessage(request, []);
  });
};

export const contribute = createContribute(encrypt);
