import type { z } from 'zod';
import type { Caller } from '../access/caller.ts';
import type { ErrorCode, ServiceError } from '../core/errors.ts';
import type { MediaType } from './body.ts';

/**
 * A route is data: what it takes, what it costs at most, what it answers. The handler gets decoded values,
 * calls one operation and gives the answer's members back; it knows neither hono nor statuses.
 */
export interface Route<
  Params extends z.ZodType = z.ZodType,
  Query extends z.ZodType = z.ZodType,
  Body extends z.ZodType = z.ZodType,
  Answer extends z.ZodType = z.ZodType,
> {
  readonly method: 'get' | 'post' | 'patch' | 'delete';
  /** As in OpenAPI: `/v1/keys/{key}/encrypt`. */
  readonly path: string;
  readonly operationId: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** Bytes of body accepted, however they are framed. Default 1 MiB; 0 without a `body`. */
  readonly bodyLimitBytes?: number;
  /** What a body is. Default `application/json`; bytes reach the handler as they came, and are wiped after it. */
  readonly mediaType?: MediaType;
  /** JSON members and elements accepted in a body. Default 100,000. */
  readonly bodyValues?: number;
  /** Numbers of the body are kept as they are written. */
  readonly exactNumbers?: boolean;
  /** Wall-clock limit of the whole request. Default 30. */
  readonly timeoutSeconds?: number;
  /** Takes an Idempotency-Key. */
  readonly idempotent?: boolean;
  /** What an operator needs when there is too much to do: it has slots of its own, see `admission/`. */
  readonly operator?: boolean;
  readonly request: {
    readonly params?: Params;
    readonly query?: Query;
    readonly body?: Body;
  };
  readonly answer: {
    readonly status: 200 | 201 | 204;
    readonly description: string;
    /** Absent for 204. */
    readonly body?: Answer;
  };
  /** Problems of its own, besides those every route has. */
  readonly problems: readonly ErrorCode[];
  /** An example request body for the documentation. */
  readonly example?: z.input<Body>;
  handle(input: RouteInput<Params, Query, Body>): Promise<z.output<Answer>>;
  /** Answers in its place where the client accepts `text/event-stream`: server-sent events (WHATWG HTML §9.2). */
  stream?(
    input: RouteInput<Params, Query, Body>,
    lastEventId: string | undefined,
  ): Promise<ReadableStream<Uint8Array>>;
}

export interface RouteInput<Params extends z.ZodType, Query extends z.ZodType, Body extends z.ZodType> {
  readonly caller: Caller;
  readonly params: z.output<Params>;
  readonly query: z.output<Query>;
  readonly body: z.output<Body>;
  /** Aborted when the client goes away or the time is up. */
  readonly signal: AbortSignal;
}

// Routes differ in their schemas; a list of them forgets the schemas and keeps the data.
export type AnyRoute = Omit<Route, 'handle' | 'example' | 'stream'> & {
  readonly example?: unknown;
  /** Body and answer are lines of JSON, of which the schemas describe one; the body a handler gets is a group of them. */
  readonly lines?: true;
  handle(input: {
    caller: Caller;
    params: unknown;
    query: unknown;
    body: unknown;
    signal: AbortSignal;
  }): Promise<unknown>;
  stream?(
    input: { caller: Caller; params: unknown; query: unknown; body: unknown; signal: AbortSignal },
    lastEventId: string | undefined,
  ): Promise<ReadableStream<Uint8Array>>;
};

/** Checks a route's types against each other and forgets them. */
export function defineRoute<
  Params extends z.ZodType = z.ZodUndefined,
  Query extends z.ZodType = z.ZodUndefined,
  Body extends z.ZodType = z.ZodUndefined,
  Answer extends z.ZodType = z.ZodUndefined,
>(route: Route<Params, Query, Body, Answer>): AnyRoute {
  return route;
}

/** A line of a body: its value as JSON, or why it has none. */
export type Line = { readonly number: number } & (
  | { readonly value: unknown }
  | { readonly error: ServiceError }
);

/** A route that takes any number of lines of JSON and answers each, in their order, as they come. */
export interface LinesRoute<Params extends z.ZodType>
  extends Omit<
    Route<Params>,
    'handle' | 'stream' | 'example' | 'bodyLimitBytes' | 'timeoutSeconds' | 'answer'
  > {
  readonly request: { readonly params?: Params; readonly body: z.ZodType };
  readonly answer: { readonly status: 200; readonly description: string; readonly body: z.ZodType };
  /** Answers a group of lines: as many, in their order. What it throws ends the answer. */
  handle(input: {
    readonly caller: Caller;
    readonly params: z.output<Params>;
    /** Empty once, of a body without lines. */
    readonly group: readonly Line[];
    readonly signal: AbortSignal;
  }): Promise<readonly object[]>;
}

export function defineLinesRoute<Params extends z.ZodType = z.ZodUndefined>(
  route: LinesRoute<Params>,
): AnyRoute {
  return {
    ...route,
    lines: true,
    handle: ({ body, params, ...input }) =>
      route.handle({ ...input, params: params as z.output<Params>, group: body as readonly Line[] }),
  };
}
