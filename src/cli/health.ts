import { request as requestClear } from 'node:http';
import { request as requestTls } from 'node:https';
import type { Config } from '../config.ts';

/** What answers on the service's own address: ready or not, something else, or nothing. */
export type Health = 'ready' | 'not ready' | 'not ours' | 'silent';

const anyAddress: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** Where the service of these settings is to be found from its own machine. */
export function ownUrl({ listen, tls }: Pick<Config, 'listen' | 'tls'>): string {
  const host = anyAddress[listen.host] ?? listen.host;
  return `${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${listen.port}`;
}

/** Asks the service of these settings, on its own machine, whether it is ready. Never throws. */
export function askHealth(config: Pick<Config, 'listen' | 'tls'>, withinMs: number): Promise<Health> {
  const request = config.tls ? requestTls : requestClear;
  return new Promise((resolve) => {
    const asked = request(`${ownUrl(config)}/readyz`, {
      // Its certificate names what others call it by; this asks about the process, and sends no secret.
      rejectUnauthorized: false,
      signal: AbortSignal.timeout(withinMs),
      agent: false,
    });
    asked.on('error', () => resolve('silent'));
    asked.on('response', (answer) => {
      answer.resume();
      if (answer.headers['stathera-version'] === undefined) resolve('not ours');
      else resolve(answer.statusCode === 200 ? 'ready' : 'not ready');
    });
    asked.end();
  });
}
