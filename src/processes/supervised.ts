import cluster from 'node:cluster';
import { once } from 'node:events';
import { ServiceError } from '../core/errors.ts';
import type { FamilySamples } from '../core/metrics-text.ts';
import { type Manner, type ToProcess, type ToSupervisor, toProcess } from './messages.ts';

/** A process's side of its supervisor. */
export interface Supervised {
  /** From 1; a replacement has the number of the one that it replaces. */
  readonly number: number;
  /** The port to listen on. */
  readonly port: number;
  /** Resolves when this process is to stop. */
  readonly stop: Promise<Manner>;
  listening(url: string): void;
  /** It cannot start. The supervisor says why, once. */
  failed(failure: { readonly text: string; readonly code?: string | undefined }): void;
  /** Asks for another process in its place. To be asked again where none came up. */
  replace(): void;
  /** What this process measured, for whoever asks. */
  measure(read: () => FamilySamples[]): void;
  /** The measurements of all processes. @throws service/overloaded */
  page(): Promise<string>;
  /** Says the last measurements and lets this process end. */
  leave(): Promise<void>;
}

const pageWithinMs = 5_000;

/** True in a process that a supervisor started. */
export const isSupervised = cluster.isWorker;

/**
 * Reports to the supervisor. From here on the process ends with it: whoever starts the service anew must not meet
 * what an older one left.
 */
export async function joinSupervisor(): Promise<Supervised> {
  const end = () => process.kill(process.pid, 'SIGKILL');
  process.on('disconnect', end);
  const stop = Promise.withResolvers<Manner>();
  // These come to every process of a terminal: the supervisor decides.
  process.on('SIGINT', () => undefined).on('SIGHUP', () => undefined);
  process.on('SIGTERM', () => stop.resolve('at-once'));
  const pages = new Map<number, (text: string) => void>();
  const send = (message: ToSupervisor) => process.send?.(message, undefined, undefined, () => undefined);
  let read: () => FamilySamples[] = () => [];
  const samples = (id: number) => send({ type: 'samples', id, families: read() });
  const { number, port, beatMs } = await new Promise<Extract<ToProcess, { type: 'start' }>>((resolve) => {
    process.on('message', (sent) => {
      const { data: message } = toProcess.safeParse(sent);
      if (message?.type === 'start') resolve(message);
      if (message?.type === 'stop') stop.resolve(message.manner);
      if (message?.type === 'read') samples(message.id);
      if (message?.type === 'text') pages.get(message.id)?.(message.text);
    });
  });
  send({ type: 'beat' });
  const beats = setInterval(() => send({ type: 'beat' }), beatMs);
  let asked = 0;
  return {
    ...{ number, port, stop: stop.promise },
    listening: (url) => void send({ type: 'listening', url }),
    failed: (failure) => void send({ type: 'failed', ...failure }),
    replace: () => void send({ type: 'replace' }),
    measure(given) {
      read = given;
    },
    page() {
      const id = (asked += 1);
      return new Promise<string>((resolve, reject) => {
        const late = setTimeout(() => reject(noAnswer()), pageWithinMs);
        pages.set(id, (text) => {
          clearTimeout(late);
          resolve(text);
        });
        send({ type: 'page', id });
      }).finally(() => pages.delete(id));
    },
    async leave() {
      clearInterval(beats);
      process.off('disconnect', end);
      if (!process.connected) {
        end();
        return;
      }
      samples(0);
      const left = once(process, 'disconnect');
      cluster.worker?.disconnect();
      await left;
    },
  };
}

function noAnswer(): ServiceError {
  return new ServiceError('service/overloaded', 'The supervisor did not answer in time.', {
    retryAfterSeconds: 1,
  });
}
