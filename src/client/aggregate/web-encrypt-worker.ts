/** A worker of a browser that encrypts one contribution. */
import { answerTo, type EncryptRequest } from './encrypting.ts';

interface WorkerScope {
  addEventListener(type: 'message', listener: (event: { readonly data: EncryptRequest }) => void): void;
  postMessage(message: unknown, transfer: readonly []): void;
}

const scope = globalThis as unknown as WorkerScope;
scope.addEventListener('message', ({ data }) => {
  void answerTo(data).then((answer) => scope.postMessage(answer, []));
});
