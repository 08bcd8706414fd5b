import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { createLinkedList, type Linked } from '../core/linked-list.ts';

/** Begins requests, some in each turn of the event loop. */
export interface Intake {
  /** Begins a request now, or in one of the next turns. */
  take(incoming: IncomingMessage, outgoing: ServerResponse): void;
  /** Begins what a connection has sent so far: something comes behind it that must be answered after it. */
  flush(socket: Socket): void;
  /** Requests that are not begun yet. */
  readonly waiting: number;
}

/** Requests begun in one turn. What else the process does comes in between: the HSM's answers, the log's writes. */
const perTurn = 64;
/** Requests a connection may have sent beyond those that are begun. */
const ofConnection = 1_024;
/** The same of all connections; then it is few for each. */
const ofAll = 16_384;
const fewOfConnection = 16;

type Request = readonly [IncomingMessage, ServerResponse];

/** What one connection has sent ahead. Reading from it pauses meanwhile. */
class Backlog implements Linked<Backlog> {
  before: Backlog | undefined = undefined;
  after: Backlog | undefined = undefined;
  readonly socket: Socket;
  readonly requests: Request[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
  }
}

/**
 * One read of a connection can bring hundreds of pipelined requests, and one turn of the event loop reads all
 * connections: were all begun at once, nothing else would come to its turn for seconds. Connections take turns, a
 * request each.
 * @param onTooMany told when a connection was closed because it sent too much ahead
 */
export function createIntake(
  begin: (incoming: IncomingMessage, outgoing: ServerResponse) => void,
  onTooMany: () => void,
): Intake {
  const backlogs = createLinkedList<Backlog>();
  const bySocket = new WeakMap<Socket, Backlog>();
  let waiting = 0;
  let begun = 0;
  let scheduled = false;

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(nextTurn);
  }

  function nextTurn(): void {
    scheduled = false;
    begun = 0;
    for (let next = backlogs.first(); next !== undefined && begun < perTurn; next = backlogs.first()) {
      begun += 1;
      beginOne(next);
      if (next.requests.length > 0) backlogs.renew(next);
    }
    if (waiting > 0) schedule();
  }

  function beginOne(backlog: Backlog): void {
    const request = backlog.requests.shift();
    if (request === undefined) return;
    waiting -= 1;
    if (backlog.requests.length === 0) {
      backlogs.remove(backlog);
      backlog.socket.resume();
    }
    if (!backlog.socket.destroyed) begin(...request);
  }

  function drop(backlog: Backlog): void {
    waiting -= backlog.requests.length;
    backlog.requests.length = 0;
    backlogs.remove(backlog);
    backlog.socket.destroy();
  }

  function defer(socket: Socket, request: Request): void {
    const backlog = bySocket.get(socket) ?? new Backlog(socket);
    if (backlog.requests.length === 0) {
      bySocket.set(socket, backlog);
      backlogs.append(backlog);
      socket.pause();
    }
    backlog.requests.push(request);
    waiting += 1;
    const { length } = backlog.requests;
    if (length <= ofConnection && (waiting <= ofAll || length <= fewOfConnection)) return;
    drop(backlog);
    onTooMany();
  }

  return {
    take(incoming, outgoing) {
      schedule();
      const { socket } = incoming;
      if (begun < perTurn && waiting === 0) {
        begun += 1;
        begin(incoming, outgoing);
      } else if (!socket.destroyed) defer(socket, [incoming, outgoing]);
    },
    flush(socket) {
      const backlog = bySocket.get(socket);
      while (backlog !== undefined && backlog.requests.length > 0) beginOne(backlog);
    },
    get waiting() {
      return waiting;
    },
  };
}
