import type { Caller } from '../access/caller.ts';
import type { Answer, Desk, Exchange } from './exchange.ts';
import type { Authenticate } from './operation.ts';

/** Whether the service can do its work, and what each part says: `ok` or a word without secrets. */
export type ReadyCheck = () => Promise<{ ready: boolean; checks: Record<string, string> }>;

/** A page beside the interface proper. */
export interface SystemPage {
  readonly path: string;
  readonly operationId: string;
  /** Is counted as in flight. */
  readonly counted: boolean;
  serve(exchange: Exchange): Promise<Answer>;
}

export interface SystemPagesOptions {
  readonly desk: Desk;
  readonly authenticate: Authenticate;
  readonly ready: ReadyCheck;
  readonly metricsHandler: (caller: Caller) => Promise<string>;
}

/** Health, readiness and metrics. They answer at the limit too: that is when they are needed. */
export function createSystemPages({
  desk,
  authenticate,
  ready,
  metricsHandler,
}: SystemPagesOptions): SystemPage[] {
  const check = shared(ready);
  return [
    {
      path: '/healthz',
      operationId: 'system.health',
      counted: false,
      serve: async () => json(200, { status: 'ok' }),
    },
    {
      path: '/readyz',
      operationId: 'system.ready',
      counted: false,
      async serve() {
        if (desk.draining) return json(503, { status: 'draining', checks: {} });
        const state = await check().catch(() => ({ ready: false, checks: { service: 'unavailable' } }));
        return json(state.ready ? 200 : 503, {
          status: state.ready ? 'ready' : 'unavailable',
          checks: state.checks,
        });
      },
    },
    {
      path: '/metrics',
      operationId: 'service.metrics',
      counted: false,
      async serve(exchange) {
        const { requestId, source } = exchange;
        const principal = await authenticate(exchange.incoming.headers.authorization);
        exchange.principal = principal;
        const place = await desk.admission.enterAsOperator(principal, exchange);
        try {
          const body = await metricsHandler({ principal, requestId, source, idempotency: undefined });
          return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body };
        } finally {
          place.leave();
        }
      },
    },
  ];
}

function json(status: number, value: unknown): Answer {
  const headers = status === 503 ? { 'Retry-After': '1' } : undefined;
  return { status, type: 'application/json', body: JSON.stringify(value), ...(headers && { headers }) };
}

/** Anyone may ask for readiness, so those who ask at the same time share one check. */
function shared<T>(check: () => Promise<T>): () => Promise<T> {
  let pending: Promise<T> | undefined;
  return () => {
    pending ??= check().finally(() => {
      pending = undefined;
    });
    return pending;
  };
}
