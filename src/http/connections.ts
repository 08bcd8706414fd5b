import { createServer, type IncomingMessage, type Server, type ServerOptions } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { getRequestListener } from '@hono/node-server';
import { announcesBody } from './body.ts';
import type { Desk } from './exchange.ts';
import { createIntake, type Intake } from './intake.ts';
import { answerMalformed, refusedRequest } from './malformed.ts';
import type { HttpApp } from './server.ts';
import { failedHandshake } from './tls/handshakes.ts';

export interface ConnectionLimits {
  /** Default 2,000; more are closed at once. */
  readonly maxConnections?: number;
  /** Until the headers are complete. Default 10,000. */
  readonly headersTimeoutMs?: number;
  /** Until the request is complete. Default 120,000; a body has its own shorter limit. */
  readonly requestTimeoutMs?: number;
  /** A connection without a request. Default 5,000. */
  readonly keepAliveTimeoutMs?: number;
  /** Of request line and headers together. Default 16,384. */
  readonly maxHeaderBytes?: number;
  /** Default 100; a request with more is refused. */
  readonly maxHeaders?: number;
  /** Default 0: any number. */
  readonly maxRequestsPerConnection?: number;
  /** Without a byte in or out while no work is done: a client that does not read. Default 60,000. */
  readonly stallTimeoutMs?: number;
  /** From a connection until its TLS handshake is complete. Default 10,000. */
  readonly handshakeTimeoutMs?: number;
}

/** A node server in clear with every limit set. */
export function createClearServer(limits: ConnectionLimits = {}): Server {
  return limited(createServer(settingsOf(limits)), limits);
}

/** One that speaks TLS. @throws Error when the certificate or its key cannot be used */
export function createSecureServer(tls: SecureContextOptions, limits: ConnectionLimits = {}): TlsServer {
  return limited(
    createTlsServer({ ...settingsOf(limits), ...tls, handshakeTimeout: handshakeTimeoutOf(limits) }),
    limits,
  );
}

export function handshakeTimeoutOf({ handshakeTimeoutMs = 10_000 }: ConnectionLimits): number {
  return handshakeTimeoutMs;
}

function settingsOf(limits: ConnectionLimits): ServerOptions {
  return {
    headersTimeout: limits.headersTimeoutMs ?? 10_000,
    // Watched below: node's own limit knows no exception.
    requestTimeout: 0,
    keepAliveTimeout: limits.keepAliveTimeoutMs ?? 5_000,
    connectionsCheckingInterval: Math.min(1_000, limits.headersTimeoutMs ?? 1_000),
    maxHeaderSize: limits.maxHeaderBytes ?? 16 * 1024,
    // A header sent twice must not be taken for its first value: joined, it is not valid.
    joinDuplicateHeaders: true,
    // hono answers a missing Host, as a problem document.
    requireHostHeader: false,
    noDelay: true,
  };
}

function limited<S extends Server>(server: S, limits: ConnectionLimits): S {
  server.maxConnections = limits.maxConnections ?? 2_000;
  // Of several processes at their limits none takes a connection: without this they would hand it round for ever.
  Object.assign(server, { dropMaxConnection: true });
  server.maxHeadersCount = limits.maxHeaders ?? 100;
  server.maxRequestsPerSocket = limits.maxRequestsPerConnection ?? 0;
  server.timeout = limits.stallTimeoutMs ?? 60_000;
  return server;
}

export interface Connections {
  /** The open ones, those in a TLS handshake included. */
  readonly sockets: ReadonlySet<Socket>;
  readonly intake: Intake;
}

/** Lets the app answer what comes to the server. */
export function connectApp(
  app: HttpApp,
  server: Server,
  secure: boolean,
  limits: ConnectionLimits = {},
): Connections {
  const { desk } = app;
  const intake = serveRequests(app, server, limits.requestTimeoutMs ?? 120_000);
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    desk.metrics.connections.set(sockets.size);
    socket.once('close', () => {
      sockets.delete(socket);
      desk.metrics.connections.set(sockets.size);
    });
  });
  server.on('drop', () => desk.metrics.droppedConnections.add());
  // Requests come over these; a TLS connection is one only after its handshake.
  const speaking = new WeakSet<Socket>();
  server.on(secure ? 'secureConnection' : 'connection', (socket: Socket) => speaking.add(socket));
  server.on('clientError', (error: NodeJS.ErrnoException, stream) => {
    const socket = stream as Socket;
    if (speaking.has(socket)) {
      intake.flush(socket);
      return answerMalformed(desk, error, socket);
    }
    failedHandshake(desk, error.code);
    socket.destroy();
  });
  server.on('timeout', (socket: Socket) => {
    for (const { working, incoming } of desk.inFlight) if (working && incoming.socket === socket) return;
    socket.destroy();
  });
  return { sockets, intake };
}

/** Ends a connection whose request is never complete, whether or not anybody wants its body. */
function limitBody({ deadlines, unhurried }: Desk, incoming: IncomingMessage, ms: number): void {
  const deadline = deadlines.start(ms, () => {
    if (!incoming.complete && !unhurried.has(incoming)) incoming.socket.destroy();
  });
  incoming.once('close', () => deadlines.end(deadline));
}

function serveRequests({ hono, desk }: HttpApp, server: Server, requestTimeoutMs: number): Intake {
  const answer = getRequestListener(hono.fetch, {
    autoCleanupIncoming: false,
    errorHandler: (error) => refusedRequest(desk, error),
  });
  const intake = createIntake(
    (incoming, outgoing) => {
      if (announcesBody(incoming)) limitBody(desk, incoming, requestTimeoutMs);
      void answer(incoming, outgoing);
    },
    () => desk.metrics.droppedConnections.add(),
  );
  server.on('request', intake.take);
  // The body is asked for once it is known to be wanted: see readBody.
  server.on('checkContinue', intake.take);
  // Other expectations are ignored, as RFC 9110 §10.1.1 allows: node's own refusal is no problem document.
  server.on('checkExpectation', intake.take);
  return intake;
}
