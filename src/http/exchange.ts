import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Context } from 'hono';
import type { Logger } from 'pino';
import type { Principal } from '../access/caller.ts';
import type { Admission } from '../admission/admission.ts';
import type { Deadline, Deadlines } from '../core/deadlines.ts';
import { type ErrorCode, ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Linked, LinkedList } from '../core/linked-list.ts';
import { announcesBody, lingering } from './body.ts';
import type { HttpMetrics, OperationMetrics } from './http-metrics.ts';
import { problemOf, traceOf } from './problem.ts';

/** The version of the interface, a date; it changes when answers change incompatibly. */
export const interfaceVersion = '2026-11-24';

/** What the requests of one app share. */
export interface Desk {
  readonly log: Logger;
  readonly metrics: HttpMetrics;
  readonly onRefused: (source: string | undefined, code: ErrorCode) => void;
  readonly admission: Admission;
  /** By the socket of requests: the group that a TLS connection agreed on. */
  readonly tlsGroups: WeakMap<Socket, string>;
  /** From a request until its answer is written and its work is done. */
  readonly inFlight: LinkedList<Exchange>;
  readonly deadlines: Deadlines;
  /** Requests whose bodies may take as long as they are: their work sees to it that they move. */
  readonly unhurried: WeakSet<IncomingMessage>;
  /** Operations at work or waiting for it, those whose time was up included: they still cost. */
  active: number;
  /** Answers close their connections. */
  lastAnswers: boolean;
  /** Readiness tells that nothing more should come. */
  draining: boolean;
}

/** What a route does with a request once it is known who calls, and there is room. */
export type RouteWork = (exchange: Exchange, context: Context, principal: Principal) => Promise<Answer>;

/** What an exchange needs to know of its route. */
export interface Endpoint {
  readonly operationId: string;
  readonly timeoutMs: number;
  /** Is counted as in flight; health and documentation are not. */
  readonly counted: boolean;
  /** A success is logged at level info; others at debug, for there are many. */
  readonly notable: boolean;
  readonly metrics: OperationMetrics;
}

export interface Answer {
  readonly status: number;
  readonly type: string;
  /** Undefined: no content. */
  readonly body: string | Buffer<ArrayBuffer> | ReadableStream<Uint8Array> | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** Set on problem documents, for the record. */
  readonly refusal?: { readonly code: ErrorCode; readonly error: unknown };
}

// A refusal of so small a body costs less than a new connection: node reads and drops it.
const droppedBodyBytes = 64 * 1024;

/** One request and its answer: its id, its time limit, its record in log and metrics. */
export class Exchange implements Linked<Exchange> {
  before: Exchange | undefined = undefined;
  after: Exchange | undefined = undefined;
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  readonly requestId: string;
  /** The peer's address. */
  readonly source: string | undefined;
  principal: Principal | undefined = undefined;
  bytesIn = 0;
  /** Of an answer that was begun. */
  bytesOut = 0;
  /** Header fields of the answer, whichever it will be. */
  headers: Readonly<Record<string, string>> | undefined = undefined;
  readonly #desk: Desk;
  readonly #endpoint: Endpoint;
  readonly #started = performance.now();
  #controller: AbortController | undefined = undefined;
  #abortReason: ServiceError | undefined = undefined;
  #give: ((response: Response) => void) | undefined = undefined;
  #deadline: Deadline | undefined = undefined;
  #working = true;
  #begun = false;

  constructor(desk: Desk, endpoint: Endpoint, incoming: IncomingMessage, outgoing: ServerResponse) {
    this.#desk = desk;
    this.#endpoint = endpoint;
    this.incoming = incoming;
    this.outgoing = outgoing;
    const sent = incoming.headers['x-request-id'];
    this.requestId = typeof sent === 'string' && requestIdForm.test(sent) ? sent : newId();
    this.source = unmapped(incoming.socket.remoteAddress);
  }

  /** Aborted when the client goes away or the time is up. Made when it is asked for: most work is short. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    return this.#controller.signal;
  }

  /** True until the work has ended, also when its answer was given without it. */
  get working(): boolean {
    return this.#working;
  }

  /** Does `work` within the endpoint's limits. Whatever it throws becomes a problem document. */
  run(work: (exchange: Exchange) => Promise<Answer>): Promise<Response> {
    const desk = this.#desk;
    if (this.#endpoint.counted) {
      desk.active++;
      desk.metrics.inFlight.set(desk.active);
    }
    desk.inFlight.append(this);
    this.outgoing.once('close', () => this.#closed());
    return new Promise((resolve) => {
      this.#give = resolve;
      this.#deadline = desk.deadlines.start(this.#endpoint.timeoutMs, () => this.interrupt(timedOut()));
      // A late answer has no one to go to any more; the work's slot is free only now.
      work(this).then(
        (answer) => this.#settle(answer),
        (error: unknown) => this.#settle(this.#problem(error)),
      );
    });
  }

  /**
   * Gives the answer now, whose body the work goes on writing. The time of the request is no more limited, its place is
   * kept until the work ends, and how that ends is what is recorded.
   * @throws the reason when the request was answered without the work
   */
  begin(answer: Answer): void {
    if (this.#give === undefined) throw this.#abortReason ?? disconnected;
    this.#begun = true;
    this.#desk.unhurried.add(this.incoming);
    this.#deliver(answer);
  }

  /** True when answers should come to their end: the service is about to stop. */
  get closing(): boolean {
    return this.#desk.lastAnswers;
  }

  /** Answers `error` in place of the work, which is told by its signal. */
  interrupt(error: ServiceError): void {
    this.#abort(error);
    this.#deliver(this.#problem(error));
  }

  /** The answer is written, or its connection is gone. */
  #closed(): void {
    if (!this.outgoing.writableFinished) this.#abort(disconnected);
    if (!this.#working) this.#desk.inFlight.remove(this);
  }

  #abort(reason: ServiceError): void {
    this.#abortReason ??= reason;
    this.#controller?.abort(this.#abortReason);
  }

  #settle(answer: Answer): void {
    this.#working = false;
    if (this.#endpoint.counted) {
      this.#desk.active--;
      this.#desk.metrics.inFlight.set(this.#desk.active);
    }
    if (this.outgoing.closed || this.outgoing.destroyed || this.incoming.socket.destroyed) {
      this.#desk.inFlight.remove(this);
    }
    if (this.#begun) this.#record(answer, this.bytesOut);
    this.#deliver(answer);
  }

  #deliver(answer: Answer): void {
    const give = this.#give;
    if (give === undefined) return;
    this.#give = undefined;
    if (this.#deadline !== undefined) this.#desk.deadlines.end(this.#deadline);
    give(this.#respond(answer));
  }

  #problem(error: unknown): Answer {
    const { body, headers } = problemOf(error, this.requestId);
    return {
      status: body.status,
      type: 'application/problem+json',
      body: JSON.stringify(body),
      headers,
      refusal: { code: body.code, error },
    };
  }

  #respond(answer: Answer): Response {
    const { status, body } = answer;
    const streamed = body instanceof ReadableStream;
    const bytesOut = body === undefined || streamed ? 0 : Buffer.byteLength(body);
    if (!this.#begun) this.#record(answer, bytesOut);
    const unread = !this.#begun && this.#leavesBodyUnread();
    const headers: Record<string, string> = {
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      'X-Request-Id': this.requestId,
      'Stathera-Version': interfaceVersion,
    };
    if (body !== undefined) {
      headers['Content-Type'] = answer.type;
      if (!streamed) headers['Content-Length'] = String(bytesOut);
    }
    if (this.headers !== undefined) Object.assign(headers, this.headers);
    if (answer.headers !== undefined) Object.assign(headers, answer.headers);
    // After an Upgrade that was not taken node's parser does not judge what follows on the connection.
    const ends =
      unread || status === 408 || this.#desk.lastAnswers || this.incoming.headers.upgrade !== undefined;
    if (ends) headers['Connection'] = 'close';
    const content = unread && typeof body === 'string' ? lingering(body, this.incoming) : (body ?? null);
    return new Response(content, { status, headers });
  }

  /** True when a body too large to be dropped quietly is still on its way. */
  #leavesBodyUnread(): boolean {
    const { incoming } = this;
    if (incoming.complete || !announcesBody(incoming)) return false;
    const length = incoming.headers['content-length'];
    return length === undefined || Number(length) > droppedBodyBytes;
  }

  #record({ status, refusal }: Answer, bytesOut: number): void {
    const durationMs = performance.now() - this.#started;
    this.#endpoint.metrics.observe(status, durationMs / 1000, this.bytesIn, bytesOut);
    if (refusal !== undefined && this.principal === undefined && status < 500) {
      this.#desk.onRefused(this.source, refusal.code);
    }
    const told = this.principal !== undefined && !(refusal !== undefined && isCrowd(refusal.code));
    const level = levelOf(status, this.#endpoint.notable, told);
    const { log } = this.#desk;
    if (!log.isLevelEnabled(level)) return;
    log[level](
      {
        requestId: this.requestId,
        operationId: this.#endpoint.operationId,
        status,
        code: refusal?.code,
        durationMs: Math.round(durationMs * 100) / 100,
        principalId: this.principal?.id,
        tlsGroup: this.#desk.tlsGroups.get(this.incoming.socket),
        bytesIn: this.bytesIn,
        bytesOut,
        ...(status >= 500 && refusal !== undefined && { error: traceOf(refusal.error) }),
      },
      'request',
    );
  }
}

/**
 * Refusals of strangers are counted (`onRefused`, metrics), not written one by one at `info`: they would be a
 * way to fill the disk. So is what is refused because there is too much of it. Frequent successes are in the audit log.
 */
function levelOf(status: number, notable: boolean, told: boolean): 'error' | 'warn' | 'info' | 'debug' {
  if (status === 500) return 'error';
  if (!told) return 'debug';
  if (status > 500) return 'warn';
  return status >= 400 || notable ? 'info' : 'debug';
}

function isCrowd(code: ErrorCode): boolean {
  return code === 'service/overloaded' || code === 'service/rate-limited';
}

function timedOut(): ServiceError {
  return new ServiceError(
    'request/timeout',
    'The request was not finished in time; it may have taken effect.',
  );
}

const disconnected = new ServiceError('request/invalid', 'The client went away.');
const requestIdForm = /^[A-Za-z0-9._-]{1,64}$/;

/** An IPv4 address as a dual-stack socket writes it, in its own form (RFC 4291 §2.5.5.2). */
function unmapped(address: string | undefined): string | undefined {
  return address?.startsWith('::ffff:') === true ? address.slice(7) : address;
}
