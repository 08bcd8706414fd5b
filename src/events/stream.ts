import type { Principal } from '../access/caller.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import type { Revision } from '../store/revision.ts';
import type { EventReader } from './reader.ts';
import { type EventType, eventText } from './types.ts';

export interface StreamLimits {
  /** In this process. */
  readonly streams: number;
  /** Of one namespace, in this process. */
  readonly streamsOfNamespace: number;
  /** Between two lines at most. */
  readonly heartbeatMilliseconds: number;
  /** Then the client comes again, and is authorized anew. */
  readonly lifeMilliseconds: number;
  /** How often it is looked for new events while anybody listens. */
  readonly lookMilliseconds: number;
}

export const streamLimits: StreamLimits = {
  ...{ streams: 256, streamsOfNamespace: 32 },
  ...{ heartbeatMilliseconds: 15_000, lifeMilliseconds: 3_600_000, lookMilliseconds: 500 },
};

/** Read, and written into a client's buffer, at a time. */
const pageEvents = 50;

interface Client {
  readonly principal: Principal;
  readonly wake: () => void;
  readonly end: () => void;
}

/**
 * Streams of server-sent events (WHATWG HTML §9.2). Nothing is kept for a client but its place: when it takes what was
 * written, the next page is read, so one that is slow costs a page, and falls behind in the table, not in memory.
 */
export interface Streams {
  /**
   * @param after where to begin: a number, or undefined for what comes from now on
   * @throws service/overloaded, service/shutting-down
   */
  open(
    principal: Principal,
    options: { readonly after: number | undefined; readonly types?: readonly EventType[] | undefined },
  ): Promise<ReadableStream<Uint8Array>>;
  /** Ends all of them; their clients come again elsewhere. */
  close(): void;
}

export function createStreams({
  reader,
  revision,
  clock,
  limits = streamLimits,
}: {
  reader: EventReader;
  revision: Revision;
  clock: Clock;
  limits?: StreamLimits;
}): Streams {
  const clients = new Set<Client>();
  let looking: NodeJS.Timeout | undefined;
  let newest = 0;
  let closed = false;

  // Whoever holds a token that was changed is to be asked anew.
  revision.onTouched((ids) => {
    const touched = ids === 'everything' ? undefined : new Set(ids);
    for (const client of clients) if (touched?.has(client.principal.id) ?? true) client.end();
  });

  /** One question for all clients. */
  async function look(): Promise<void> {
    const found = await reader.newest().catch(() => newest);
    if (found > newest) for (const client of clients) client.wake();
    newest = Math.max(newest, found);
    looking =
      clients.size > 0 && !closed ? setTimeout(() => void look(), limits.lookMilliseconds) : undefined;
    looking?.unref();
  }

  function requirePlace({ namespaceId }: Principal): void {
    if (closed) throw new ServiceError('service/shutting-down', 'The service is shutting down.');
    const own = [...clients].filter(({ principal }) => principal.namespaceId === namespaceId).length;
    if (clients.size < limits.streams && own < limits.streamsOfNamespace) return;
    throw new ServiceError('service/overloaded', 'Too many streams of events are open.', {
      retryAfterSeconds: 10,
    });
  }

  return {
    async open(principal, { after, types }) {
      requirePlace(principal);
      let place = after ?? (await reader.newest());
      requirePlace(principal);
      const oldest = after === undefined ? undefined : await reader.oldest();
      const text = new TextEncoder();
      const ended = new AbortController();
      let more = Promise.withResolvers<void>();
      const client: Client = { principal, wake: () => more.resolve(), end: () => ended.abort() };
      const until = Math.min(
        clock.now() + limits.lifeMilliseconds,
        principal.expiresAt ?? Number.POSITIVE_INFINITY,
      );
      const life = setTimeout(client.end, Math.max(0, until - clock.now())).unref();
      ended.signal.addEventListener('abort', () => {
        clearTimeout(life);
        clients.delete(client);
        client.wake();
      });
      clients.add(client);
      looking ??= setTimeout(() => void look(), limits.lookMilliseconds).unref();
      let opening = [': events of this namespace\nretry: 2000\n\n'];
      if (after !== undefined && oldest !== undefined && after + 1 < oldest)
        opening = [...opening, 'event: events.gap\ndata: {}\n\n'];

      /** What there is, or a sign of life when there is nothing for long; undefined at the end. */
      async function next(): Promise<string | undefined> {
        if (opening.length > 0) return opening.splice(0).join('');
        for (;;) {
          if (ended.signal.aborted) return undefined;
          const news = more.promise;
          const edge = newest;
          const events = await reader.read(principal, { after: place, limit: pageEvents, types });
          // Events come about in the order of their numbers: what is not on a short page is not to come.
          place = events.at(-1)?.number ?? Math.max(place, edge);
          if (events.length > 0)
            return events
              .map((event) => `id: ${event.number}\nevent: ${event.type}\ndata: ${eventText(event)}\n\n`)
              .join('');
          if (await quiet(news, limits.heartbeatMilliseconds)) return ':\n\n';
          more = Promise.withResolvers<void>();
          if (ended.signal.aborted) return undefined;
        }
      }

      return new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            try {
              const written = await next();
              if (written === undefined) controller.close();
              else controller.enqueue(text.encode(written));
            } catch (error) {
              client.end();
              controller.error(error);
            }
          },
          cancel: client.end,
        },
        { highWaterMark: 1 },
      );
    },
    close() {
      closed = true;
      clearTimeout(looking);
      for (const client of clients) client.end();
    },
  };
}

/** True when nothing came for so long. */
async function quiet(news: Promise<void>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<true>((resolve) => {
    timer = setTimeout(resolve, milliseconds, true);
    timer.unref();
  });
  try {
    return await Promise.race([news.then(() => false), silence]);
  } finally {
    clearTimeout(timer);
  }
}
