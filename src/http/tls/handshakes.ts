import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Desk } from '../exchange.ts';
import { type ClientHello, createHelloReader } from './client-hello.ts';
import { agreedGroup, type Group, isClassical } from './groups.ts';

export interface Handshakes {
  /** The server's, the preferred one first: what `opensslGroups` of them is must be its `ecdhCurve`. */
  readonly groups: readonly Group[];
  /** From the connection to the end of the handshake. */
  readonly timeoutMs: number;
}

/** What is known of a connection before its handshake is complete. */
interface Opening {
  /** Undefined where the hello could not be read: OpenSSL judges it. */
  readonly hello: ClientHello | undefined;
  readonly timer: NodeJS.Timeout;
}

/**
 * Tells of each connection which group its keys come from: counted, logged, and kept in `desk.tlsGroups`.
 * node tells only clients, so the ClientHello is read before the server gets it, and the group is what the server
 * chooses then. To be called before the server listens, and before others hear its connections.
 */
export function observeHandshakes(server: Server, desk: Desk, { groups, timeoutMs }: Handshakes): void {
  const metrics = desk.metrics.tls();
  // A connection before and after its handshake are two sockets; what they have in common is where they go.
  const openings = new Map<string, Opening>();
  const [accept] = server.listeners('connection');
  if (accept === undefined) throw new TypeError('server: it takes no connections');
  server.removeListener('connection', accept as (socket: Socket) => void);

  function handOver(socket: Socket, opening: Opening): void {
    const { hello } = opening;
    const place = placeOf(socket);
    openings.set(place, opening);
    socket.once('close', () => {
      clearTimeout(opening.timer);
      if (openings.get(place) === opening) openings.delete(place);
    });
    if (hello !== undefined && agreedGroup(groups, hello) === undefined) {
      if (isClassical(hello)) metrics.refusedClassical.add();
      desk.log.debug(
        { source: socket.remoteAddress, groups: hello.groups.slice(0, 16) },
        'TLS client has no group of ours',
      );
    }
    accept?.call(server, socket);
  }

  server.on('connection', (socket: Socket) => {
    awaitHello(socket, timeoutMs, {
      read: (opening) => handOver(socket, opening),
      failed: (code) => failedHandshake(desk, code),
    });
  });
  server.on('secureConnection', (socket: TLSSocket) => {
    const place = placeOf(socket);
    const opening = openings.get(place);
    openings.delete(place);
    clearTimeout(opening?.timer);
    const hello = opening?.hello;
    const group = hello && agreedGroup(groups, hello);
    const name = group?.name ?? 'unknown';
    desk.tlsGroups.set(socket, name);
    metrics.connections(name).add();
    const classical = hello !== undefined && isClassical(hello);
    const retried = group !== undefined && hello?.shares.includes(group.id) === false;
    if (classical) metrics.servedClassical.add();
    if (retried) metrics.helloRetries.add();
    if (!desk.log.isLevelEnabled('debug')) return;
    const resumed = socket.isSessionReused();
    desk.log.debug(
      { source: socket.remoteAddress, tlsGroup: name, classical, retried, resumed },
      'TLS connection',
    );
  });
}

/** Counts a handshake that came to nothing. */
export function failedHandshake(desk: Desk, tlsCode: string | undefined): void {
  desk.metrics.failedHandshakes.add();
  desk.log.debug({ tlsCode }, 'TLS handshake failed');
}

/**
 * Reads the ClientHello of a new connection and puts it back. The time limit goes on after `read`: destroying the
 * socket then is a failure that the server itself tells of.
 */
function awaitHello(
  socket: Socket,
  timeoutMs: number,
  told: { read(opening: Opening): void; failed(code: string): void },
): void {
  const reader = createHelloReader();
  let waiting = true;
  const leave = () => {
    waiting = false;
    socket.off('readable', readable).off('end', end).off('close', end);
  };
  // Counted before the client can see it.
  const fail = (code: string) => {
    leave();
    clearTimeout(timer);
    told.failed(code);
    socket.destroy();
  };
  const end = () => fail('ECONNRESET');
  const timer = setTimeout(() => {
    if (waiting) fail('ERR_TLS_HANDSHAKE_TIMEOUT');
    else socket.destroy();
  }, timeoutMs);
  const readable = () => {
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
      const hello = reader.push(chunk);
      if (hello === 'incomplete') continue;
      leave();
      socket.unshift(reader.bytes());
      told.read({ hello: hello === 'unreadable' ? undefined : hello, timer });
      return;
    }
  };
  // Errors are told by what follows them, the close.
  socket
    .on('error', () => {})
    .on('readable', readable)
    .on('end', end)
    .on('close', end);
}

/** Both ends of a connection: unique while it is open. A socket remembers the far one once it was asked. */
function placeOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
