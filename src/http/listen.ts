import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { getRequestListener } from '@hono/node-server';
import { ServiceError } from '../core/errors.ts';
import { answerMalformed, refusedRequest } from './malformed.ts';
import type { HttpApp } from './server.ts';

export interface ListenOptions {
  /** A name or an address; without TLS only a loopback one, unless `allowCleartext`. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** PEM files. TLS 1.3 only, X25519MLKEM768 preferred, X25519 for clients without it. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  /** Lets a listener others can reach go without TLS: for a proxy on another host that ends it. */
  readonly allowCleartext: boolean;
  readonly limits?: ConnectionLimits;
}

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
  /** Default 100. */
  readonly maxHeaders?: number;
  /** Default 0: any number. */
  readonly maxRequestsPerConnection?: number;
  /** Of a TLS handshake. Default 10,000. */
  readonly handshakeTimeoutMs?: number;
}

export interface Listener {
  /** `http://127.0.0.1:8300`, with the real port. */
  readonly url: string;
  readonly address: string;
  readonly port: number;
  /**
   * Stops: readiness turns 503 at once, answers close their connections, no connection is accepted.
   * @param graceMs requests in progress may take that long; then they are answered service/shutting-down
   * @param noticeMs keeps accepting that long first, for load balancers to see the readiness. Default 0
   */
  close(graceMs: number, noticeMs?: number): Promise<void>;
}

/**
 * Serves an app.
 * @throws Error when a listener that is not loopback would be in clear, when the address is taken, or when the
 * certificate or its key cannot be used
 */
export async function listen(app: HttpApp, options: ListenOptions): Promise<Listener> {
  if (options.tls === undefined && !options.allowCleartext && !isLoopback(options.host)) {
    throw cleartextRefused(options.host);
  }
  const server = createNodeServer(options);
  wire(app, server, options.tls !== undefined);
  server.listen(options.port, options.host);
  await once(server, 'listening');
  const { address, port } = server.address() as AddressInfo;
  // `localhost` is what the resolver says it is.
  if (options.tls === undefined && !options.allowCleartext && !isLoopback(address)) {
    server.close();
    throw cleartextRefused(address);
  }
  const host = isIPv6(address) ? `[${address}]` : address;
  let closing: Promise<void> | undefined;
  return {
    url: `${options.tls === undefined ? 'http' : 'https'}://${host}:${port}`,
    address,
    port,
    close(graceMs, noticeMs = 0) {
      closing ??= shutDown(app, server, graceMs, noticeMs);
      return closing;
    },
  };
}

function createNodeServer({ tls, limits = {} }: ListenOptions): Server {
  const common: ServerOptions = {
    headersTimeout: limits.headersTimeoutMs ?? 10_000,
    requestTimeout: limits.requestTimeoutMs ?? 120_000,
    keepAliveTimeout: limits.keepAliveTimeoutMs ?? 5_000,
    connectionsCheckingInterval: Math.min(1_000, limits.headersTimeoutMs ?? 1_000),
    maxHeaderSize: limits.maxHeaderBytes ?? 16 * 1024,
    // A header sent twice must not be taken for its first value: joined, it is not valid.
    joinDuplicateHeaders: true,
    // hono answers a missing Host, as a problem document.
    requireHostHeader: false,
    noDelay: true,
  };
  const server =
    tls === undefined
      ? createServer(common)
      : createTlsServer({
          ...common,
          cert: readFileSync(tls.certFile),
          key: readFileSync(tls.keyFile),
          minVersion: 'TLSv1.3',
          ecdhCurve: 'X25519MLKEM768:X25519',
          handshakeTimeout: limits.handshakeTimeoutMs ?? 10_000,
        });
  server.maxConnections = limits.maxConnections ?? 2_000;
  server.maxHeadersCount = limits.maxHeaders ?? 100;
  server.maxRequestsPerSocket = limits.maxRequestsPerConnection ?? 0;
  return server;
}

function wire({ hono, desk }: HttpApp, server: Server, secure: boolean): void {
  const { metrics, log } = desk;
  const listener = getRequestListener(hono.fetch, {
    autoCleanupIncoming: false,
    errorHandler: (error) => refusedRequest(desk, error),
  });
  const serve = (incoming: IncomingMessage, outgoing: ServerResponse): void =>
    void listener(incoming, outgoing);
  server.on('request', serve);
  // The body is asked for once it is known to be wanted: see readBody.
  server.on('checkContinue', serve);
  server.on('clientError', (error: NodeJS.ErrnoException, socket) =>
    answerMalformed(desk, error, socket as Socket),
  );
  server.on('connection', () => metrics.connections.add(1));
  server.on(secure ? 'secureConnection' : 'connection', (socket: Socket) => {
    socket.once('close', () => {
      for (const exchange of desk.inFlight) if (exchange.incoming.socket === socket) exchange.closed();
    });
  });
  server.on('drop', () => metrics.droppedConnections.add());
  if (secure) {
    server.on('tlsClientError', (error: NodeJS.ErrnoException) => {
      metrics.failedHandshakes.add();
      log.debug({ code: error.code }, 'TLS handshake failed');
    });
  }
}

async function shutDown({ desk }: HttpApp, server: Server, graceMs: number, noticeMs: number): Promise<void> {
  desk.draining = true;
  if (noticeMs > 0) await delay(noticeMs);
  const closed = once(server, 'close');
  server.close();
  const deadline = performance.now() + graceMs;
  // An open connection without a request would hold the server open: two quiet looks in a row are the end.
  for (let quiet = 0; quiet < 2 && performance.now() < deadline; ) {
    await delay(Math.min(20, Math.max(1, deadline - performance.now())));
    quiet = desk.inFlight.size === 0 ? quiet + 1 : 0;
  }
  if (desk.inFlight.size > 0) {
    const stopping = new ServiceError(
      'service/shutting-down',
      'The service is shutting down; the request may have taken effect.',
    );
    for (const exchange of desk.inFlight) exchange.interrupt(stopping);
    await delay(50);
  }
  server.closeAllConnections();
  await closed;
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  if (isIPv4(host)) return loopback.check(host, 'ipv4');
  return isIPv6(host) && loopback.check(host, 'ipv6');
}

function cleartextRefused(host: string): Error {
  return new Error(
    `refusing to listen on ${host} without TLS: give a certificate and its key, listen on a loopback address, or allow cleartext explicitly`,
  );
}
