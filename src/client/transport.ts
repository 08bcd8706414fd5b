import type { Base64 } from './bytes.ts';
import { StatheraError } from './errors.ts';
import type { EncodedRequest } from './requests.ts';

/** One request as it goes over the wire. */
export interface WireRequest {
  readonly method: string;
  /** Where the service is, without path. */
  readonly origin: URL;
  /** Path and query. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: EncodedRequest['body'];
  /** Ends the request and its answer. */
  readonly signal: AbortSignal;
}

/** The head of an answer, and a way to its body. Whoever gets it calls `read` or `cancel`. */
export interface WireAnswer {
  readonly status: number;
  header(name: string): string | undefined;
  /** The whole body, in memory that is the caller's to wipe. @throws client/answer-too-large, client/unreachable */
  read(limitBytes: number): Promise<Uint8Array>;
  /** Wants nothing of the body; the connection goes. */
  cancel(): void;
}

/**
 * Carries requests: `fetch` everywhere, node:http where there is Node (./http-transport.ts). Follows no redirect:
 * a token must not go where it was not sent. Rejects with the signal's reason, or with client/unreachable.
 */
export type Transport = (request: WireRequest) => Promise<WireAnswer>;

/** What differs between the places a client runs in. */
export interface Platform {
  readonly transport: Transport;
  readonly base64: Base64;
}

export function createFetchTransport(fetchFunction: typeof fetch): Transport {
  return async ({ method, origin, target, headers, body, signal }) => {
    let response: Response;
    try {
      response = await fetchFunction(origin.origin + target, {
        method,
        headers,
        ...(body !== undefined && { body }),
        signal,
        redirect: 'manual',
        credentials: 'omit',
        cache: 'no-store',
        referrerPolicy: 'no-referrer',
      });
    } catch (error) {
      signal.throwIfAborted();
      throw unreachable(error);
    }
    const cancel = (): void => void response.body?.cancel().catch(() => undefined);
    return {
      status: response.type === 'opaqueredirect' ? 302 : response.status,
      header: (name) => response.headers.get(name) ?? undefined,
      cancel,
      async read(limitBytes) {
        const received = createReceived(limitBytes);
        const reader: ReadableStreamDefaultReader<Uint8Array> | undefined = response.body?.getReader();
        if (!reader) return received.whole();
        try {
          for (;;) {
            const { done, value } = await reader.read();
            if (done) return received.whole();
            received.add(value);
          }
        } catch (error) {
          received.wipe();
          void reader.cancel().catch(() => undefined);
          signal.throwIfAborted();
          throw error instanceof StatheraError ? error : unreachable(error);
        }
      },
    };
  };
}

/** What arrived of a body so far. */
export function createReceived(limitBytes: number) {
  const chunks: Uint8Array[] = [];
  let total = 0;
  const wipe = (): void => {
    for (const chunk of chunks) chunk.fill(0);
  };
  return {
    wipe,
    /** @throws client/answer-too-large */
    add(chunk: Uint8Array): void {
      total += chunk.length;
      chunks.push(chunk);
      if (total <= limitBytes) return;
      throw new StatheraError(
        'client/answer-too-large',
        `The answer is longer than ${limitBytes} bytes: ask for less at once, or raise maxAnswerBytes.`,
      );
    },
    whole(): Uint8Array {
      const [only] = chunks;
      if (only && chunks.length === 1) return only;
      const whole = new Uint8Array(total);
      let at = 0;
      for (const chunk of chunks) {
        whole.set(chunk, at);
        at += chunk.length;
      }
      wipe();
      return whole;
    },
  };
}

/** Of what a transport failed with, only its code: messages and causes carry addresses, headers, even bodies. */
export function unreachable(error: unknown): StatheraError {
  const code = systemCode(error);
  const named = code === undefined ? '' : ` (${code})`;
  if (code !== undefined && /^(?:HPE_|ERR_SSL_|EPROTO$)/.test(code)) {
    return new StatheraError(
      'client/not-stathera',
      `What answers does not speak HTTP as the URL says${named}: check its port, and http: or https:.`,
    );
  }
  if (code !== undefined && /CERT|SELF_SIGNED|UNABLE_TO_VERIFY/.test(code)) {
    return new StatheraError(
      'client/untrusted',
      `The certificate of the service is not trusted${named}: check its name and its date, and give its authority.`,
    );
  }
  return new StatheraError(
    'client/unreachable',
    `No answer came from the service${named}: is it running, and is the URL its own?`,
  );
}

function systemCode(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    const { code } = at as { code?: unknown };
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{2,60}$/.test(code)) return code;
    // Node's fetch leaves its parser's codes out.
    if (at.name === 'HTTPParserError') return 'HPE_INVALID';
  }
  return undefined;
}
