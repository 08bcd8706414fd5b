import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { BlockList, isIPv4, isIPv6, Server as NetServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { ServiceError } from '../core/errors.ts';
import { type ConnectionLimits, type Connections, connectApp, createClearServer } from './connections.ts';
import type { HttpApp } from './server.ts';
import { createTlsServer, type TlsSettings } from './tls/tls-server.ts';

export interface ListenOptions {
  /** A name or an address; without TLS only a loopback one, unless `allowCleartext`. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tls?: TlsSettings;
  /** Lets a listener others can reach go without TLS: for a proxy on another host that ends it. */
  readonly allowCleartext: boolean;
  readonly limits?: ConnectionLimits;
}

export interface Listener {
  /** `http://127.0.0.1:8300`, with the real port. */
  readonly url: string;
  readonly address: string;
  readonly port: number;
  /**
   * Stops: readiness turns 503 at once, answers close their connections, no connection is accepted.
   * @param graceMs requests in progress may take that long; then they are answered service/shutting-down
   */
  close(graceMs: number, options?: CloseOptions): Promise<void>;
}

export interface CloseOptions {
  /** Keeps accepting that long first, for load balancers to see the readiness. Default 0. */
  readonly noticeMs?: number;
  /**
   * Another process takes what comes: readiness stays, and a connection without a request is kept, within `graceMs`,
   * until its client closes it, its time is up or its next request is answered. A request that is just on its way is
   * not cut off. Default false.
   */
  readonly unnoticed?: boolean;
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
  const server =
    options.tls === undefined
      ? createClearServer(options.limits)
      : await createTlsServer(options.tls, app.desk, options.limits);
  const connections = connectApp(app, server, options.tls !== undefined, options.limits);
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
    close(graceMs, closeOptions = {}) {
      closing ??= shutDown(app, server, connections, graceMs, closeOptions);
      return closing;
    },
  };
}

async function shutDown(
  { desk }: HttpApp,
  server: Server,
  { sockets, intake }: Connections,
  graceMs: number,
  { noticeMs = 0, unnoticed = false }: CloseOptions,
): Promise<void> {
  desk.lastAnswers = true;
  desk.draining = !unnoticed;
  if (noticeMs > 0) await delay(noticeMs);
  const closed = once(server, 'close');
  const deadline = performance.now() + graceMs;
  const left = () => Math.max(0, deadline - performance.now());
  if (unnoticed) {
    // That of http's server would end idle connections, and the watch over their times.
    NetServer.prototype.close.call(server);
    await Promise.race([closed, delay(left(), undefined, { ref: false })]);
  }
  server.close();
  // An open connection without a request would hold the server open: two quiet looks in a row are the end.
  for (let quiet = 0; quiet < 2 && left() > 0; ) {
    await delay(Math.min(20, Math.max(1, left())));
    quiet = desk.inFlight.size + intake.waiting === 0 ? quiet + 1 : 0;
  }
  if (desk.inFlight.size > 0) {
    const stopping = new ServiceError(
      'service/shutting-down',
      'The service is shutting down; the request may have taken effect.',
    );
    for (const exchange of desk.inFlight) exchange.interrupt(stopping);
    await delay(50);
  }
  for (const socket of sockets) socket.destroy();
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
