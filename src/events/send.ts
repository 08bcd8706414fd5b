import { createHmac } from 'node:crypto';
import { request as requestInClear } from 'node:http';
import { request as requestByTls } from 'node:https';
import type { Addresses } from './address.ts';

export interface Message {
  readonly url: string;
  /** The event's id, the same for each attempt: by it a receiver knows what it has. */
  readonly id: string;
  readonly body: string;
  /** Seconds. */
  readonly timestamp: number;
}

/** Sends a message once. @returns undefined when it arrived, else a status or a word. Never rejects */
export type Send = (message: Message, secret: Uint8Array) => Promise<string | undefined>;

/** Of an answer, which nobody reads. */
const answerBytes = 16 * 1024;

/** Header fields and signature as Standard Webhooks 1.0 has them. */
function signed({ id, timestamp, body }: Message, secret: Uint8Array): Record<string, string> {
  const tag = createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64');
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': `v1,${tag}`,
    'content-type': 'application/json',
    'user-agent': 'stathera-kms',
  };
}

export function createSend(addresses: Addresses, timeoutMilliseconds = 10_000): Send {
  return async (message, secret) => {
    const refusal = addresses.refusal(message.url);
    if (refusal !== undefined) return 'address-refused';
    const signal = AbortSignal.timeout(timeoutMilliseconds);
    try {
      const url = new URL(message.url);
      const place = await orTimeout(addresses.resolve(url), signal);
      if (!place) return 'address-refused';
      const status = await post(url, place, message, signed(message, secret), signal);
      return status >= 200 && status < 300 ? undefined : String(status);
    } catch (error) {
      return signal.aborted ? 'timeout' : wordOf(error);
    }
  };
}

function post(
  url: URL,
  { address, family }: { address: string; family: 4 | 6 },
  { body }: Message,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'https:' ? requestByTls : requestInClear;
    const sent = request(
      url,
      {
        ...{ method: 'POST', signal, agent: false, maxHeaderSize: answerBytes },
        headers: { ...headers, 'content-length': Buffer.byteLength(body) },
        // The address that was looked at, and no other; the name stays what the certificate is checked by.
        lookup: (_host, options, done) =>
          options.all === true ? done(null, [{ address, family }]) : done(null, address, family),
      },
      (answer) => {
        let bytes = 0;
        answer.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          // The status is all that counts; what goes on and on is cut.
          if (bytes > answerBytes) end();
        });
        const end = () => {
          resolve(answer.statusCode ?? 0);
          sent.destroy();
        };
        answer.on('end', end);
        answer.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

function orTimeout<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    work.then(resolve, reject);
  });
}

/** The system's code of an error: no text that the other side may have written. */
function wordOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[A-Z0-9_]{1,48}$/.test(code) ? code : 'failed';
}
