import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { Logger } from 'pino';
import type { Caller } from '../access/caller.ts';
import { type AdmissionLimits, createAdmission } from '../admission/admission.ts';
import { systemClock } from '../core/clock.ts';
import { createDeadlines } from '../core/deadlines.ts';
import { type ErrorCode, ServiceError } from '../core/errors.ts';
import { createLinkedList } from '../core/linked-list.ts';
import type { Metrics } from '../core/metrics.ts';
import { createDocsPages } from './docs.ts';
import { type Answer, type Desk, type Endpoint, Exchange } from './exchange.ts';
import { createHttpMetrics } from './http-metrics.ts';
import { openApiDocument } from './openapi.ts';
import { type Authenticate, defaultTimeoutSeconds, serveRoute } from './operation.ts';
import { measureProcess } from './process-metrics.ts';
import type { AnyRoute } from './route.ts';
import { createSystemPages, type ReadyCheck } from './system.ts';

type HttpContext = Context<{ Bindings: HttpBindings }>;
type Work = (exchange: Exchange, context: HttpContext) => Promise<Answer>;

export interface HttpAppOptions {
  readonly routes: readonly AnyRoute[];
  /** @throws access/unauthenticated */
  readonly authenticate: Authenticate;
  /** Told of every request refused with a 4xx status before it was known who calls. */
  readonly onRefused: (source: string | undefined, code: ErrorCode) => void;
  readonly ready: ReadyCheck;
  /** The text of `GET /metrics`; authorizes the caller. */
  readonly metricsHandler: (caller: Caller) => Promise<string>;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly version: string;
  readonly limits?: AdmissionLimits;
  /** Milliseconds a body may take to arrive. Default 15,000. */
  readonly bodyTimeoutMs?: number;
  /** Milliseconds a body in lines, or the reader of its answers, may stand still. Default 60,000. */
  readonly lineTimeoutMs?: number;
}

/** The routes mounted, and what `listen` shares with them. */
export interface HttpApp {
  readonly hono: Hono<{ Bindings: HttpBindings }>;
  readonly desk: Desk;
}

/** Mounts the routes and the pages every service has. @throws TypeError for two routes in one place */
export function createHttpApp(options: HttpAppOptions): HttpApp {
  const { routes, authenticate, bodyTimeoutMs = 15_000, lineTimeoutMs = 60_000 } = options;
  const deadlines = createDeadlines();
  const desk: Desk = {
    log: options.log,
    metrics: createHttpMetrics(options.metrics),
    onRefused: options.onRefused,
    admission: createAdmission({
      limits: options.limits ?? {},
      clock: systemClock,
      deadlines,
      metrics: options.metrics,
    }),
    tlsGroups: new WeakMap(),
    inFlight: createLinkedList(),
    unhurried: new WeakSet(),
    deadlines,
    active: 0,
    lastAnswers: false,
    draining: false,
  };
  measureProcess(options.metrics);
  const hono = new Hono<{ Bindings: HttpBindings }>();
  const map = createMethodMap();

  function mount(method: string, path: string, endpoint: EndpointRow, work: Work): void {
    map.add(method, path);
    hono.on(method, path.replace(/\{(\w+)\}/g, ':$1'), at(endpoint, work));
  }

  function at(row: EndpointRow, work: Work): (context: HttpContext) => Response | Promise<Response> {
    const endpoint: Endpoint = { ...row, metrics: desk.metrics.operation(row.operationId) };
    return (context) =>
      new Exchange(desk, endpoint, context.env.incoming, context.env.outgoing).run((exchange) =>
        work(exchange, context),
      );
  }

  for (const route of routes) {
    mount(
      route.method.toUpperCase(),
      route.path,
      rowOf(route),
      serveRoute(route, { authenticate, desk, bodyTimeoutMs, lineTimeoutMs }),
    );
  }
  const docs = createDocsPages(() => openApiDocument(routes, options.version));
  for (const page of [...createSystemPages({ ...options, desk }), ...docs]) {
    mount('GET', page.path, { ...page, timeoutMs: 10_000, notable: false }, page.serve);
  }
  const unrouted: EndpointRow = {
    operationId: 'unrouted',
    timeoutMs: 10_000,
    counted: false,
    notable: false,
  };
  hono.notFound(at(unrouted, async (exchange, context) => map.answer(exchange, context.req.path)));
  // Exchanges answer their own errors: one that comes here is hono's.
  hono.onError((error, context) => at(unrouted, async () => Promise.reject(error))(context));
  return { hono, desk };
}

type EndpointRow = Omit<Endpoint, 'metrics'>;

function rowOf(route: AnyRoute): EndpointRow {
  return {
    operationId: route.operationId,
    timeoutMs: (route.timeoutSeconds ?? defaultTimeoutSeconds) * 1000,
    counted: true,
    notable: route.idempotent === true || route.method === 'patch' || route.method === 'delete',
  };
}

/** Knows which methods each path takes: for requests that found no handler, so its speed does not matter. */
function createMethodMap() {
  const methods = new Map<string, { readonly pattern: RegExp; readonly allow: Set<string> }>();
  return {
    add(method: string, path: string): void {
      const shape = path.replace(/\{\w+\}/g, '{}');
      const source = shape
        .split('{}')
        .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
        .join('[^/]+');
      const row = methods.get(shape) ?? { pattern: new RegExp(`^${source}$`), allow: new Set(['OPTIONS']) };
      if (row.allow.has(method)) throw new TypeError(`routes: ${method} ${path} is there twice`);
      row.allow.add(method);
      if (method === 'GET') row.allow.add('HEAD');
      methods.set(shape, row);
    },
    /** @throws request/not-found, request/method-not-allowed */
    answer(exchange: Exchange, path: string): Answer {
      const allow = new Set(
        [...methods.values()].flatMap((row) => (row.pattern.test(path) ? [...row.allow] : [])),
      );
      if (allow.size === 0) throw new ServiceError('request/not-found', 'There is nothing at this path.');
      exchange.headers = { Allow: [...allow].toSorted().join(', ') };
      if (exchange.incoming.method === 'OPTIONS') return { status: 204, type: '', body: undefined };
      throw new ServiceError('request/method-not-allowed', 'This path does not take the method.');
    },
  };
}
