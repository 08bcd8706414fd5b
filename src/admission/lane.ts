import type { Clock } from '../core/clock.ts';
import type { Deadlines } from '../core/deadlines.ts';
import { createLinkedList } from '../core/linked-list.ts';
import { CallerFlow, createFlows, NamespaceFlow, type Place, Ticket } from './flows.ts';
import type { LaneMetrics } from './metrics.ts';
import { overloaded, type RefusalReason } from './refusals.ts';

/** Whose request it is. */
export interface Claimant {
  readonly id: string;
  readonly namespaceId: string;
}

export interface LaneOptions {
  /** Requests at work at most. */
  readonly slots: number;
  /** Requests waiting for a slot at most. */
  readonly places: number;
  /** What one waits at most. */
  readonly waitMs: number;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly metrics: LaneMetrics;
}

/** A bounded number of slots with a bounded, fair queue in front. */
export interface Lane {
  /**
   * @param cost how it compares with others in the queue, from 1
   * @param signal asked for only when the request must wait: aborted, it gives its place in the queue up
   * @returns the place at once when a slot is free
   * @throws service/overloaded at once or after waiting; the signal's reason
   */
  enter(
    claimant: Claimant,
    cost: number,
    applicant: { readonly signal: AbortSignal },
  ): Place | Promise<Place>;
  status(): { readonly inside: number; readonly waiting: number; readonly tracked: number };
}

/** Requests of idle callers whose flows are remembered. */
const idleFlows = 1_000;

/** A use may grow while it is less than this many times what is left. */
const shareOfRest = 4;

/** How many of the last departures the time between them is the average of. */
const averagedDepartures = 32;

/**
 * Nobody takes all: of slots and of places in the queue, a namespace has at most four times what is left of them,
 * and a caller four times what is left to its namespace. Alone that is 4/5 and 3/4 of all; with others it is less,
 * and who comes new finds something free. The queue serves namespaces by virtual time (start-time fair queueing,
 * Goyal, Vin and Cheng 1996), the callers of a namespace likewise, the requests of a caller in order.
 */
export function createLane({ slots, places, waitMs, clock, deadlines, metrics }: LaneOptions): Lane {
  const known = slots + places + idleFlows;
  const callers = createFlows(() => new CallerFlow(), known);
  const namespaces = createFlows(() => new NamespaceFlow(), known);
  /** Namespaces that wait. */
  const queue = createLinkedList<NamespaceFlow>();
  let free = slots;
  let waiting = 0;
  /** What the namespace served last had been served before. */
  let now = 0;
  let departedAt = 0;
  let departureGapMs = 0;

  function refuse(reason: RefusalReason): Error {
    metrics.refused[reason].add();
    return overloaded;
  }

  function goIn(ticket: Ticket): void {
    free -= 1;
    ticket.caller.inside += 1;
    ticket.namespace.inside += 1;
    ticket.goIn();
  }

  function leave({ caller, namespace }: Ticket): void {
    free += 1;
    caller.inside -= 1;
    namespace.inside -= 1;
    if (waiting === 0) return;
    const at = clock.monotonic();
    departureGapMs += (at - departedAt - departureGapMs) / averagedDepartures;
    departedAt = at;
    serve();
  }

  function serve(): void {
    for (let next = nextOf(queue, free); next !== undefined; next = nextOf(queue, free)) {
      const { ticket } = next;
      now = next.namespace.served;
      next.namespace.now = next.caller.served;
      next.namespace.served += ticket.cost;
      next.caller.served += ticket.cost;
      withdraw(ticket);
      goIn(ticket);
      ticket.granted?.();
    }
  }

  function queueUp(ticket: Ticket): void {
    const { caller, namespace } = ticket;
    if (waiting === 0) departedAt = clock.monotonic();
    if (namespace.waiting === 0) {
      namespace.served = Math.max(namespace.served, now);
      queue.append(namespace);
    }
    if (caller.waiting === 0) {
      caller.served = Math.max(caller.served, namespace.now);
      namespace.callers.append(caller);
    }
    caller.tickets.append(ticket);
    caller.waiting += 1;
    namespace.waiting += 1;
    waiting += 1;
  }

  function withdraw(ticket: Ticket): void {
    const { caller, namespace } = ticket;
    caller.tickets.remove(ticket);
    caller.waiting -= 1;
    namespace.waiting -= 1;
    waiting -= 1;
    if (caller.waiting === 0) namespace.callers.remove(caller);
    if (namespace.waiting === 0) queue.remove(namespace);
  }

  /** By the caller's turn among those that wait now. The first of a queue has nobody before it. */
  function expectedWaitMs(caller: CallerFlow, namespace: NamespaceFlow): number {
    const turns = caller.waiting * namespace.callers.size * queue.size;
    return Math.min(turns, waiting) * departureGapMs;
  }

  function wait(ticket: Ticket, signal: AbortSignal): Promise<Place> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const since = clock.monotonic();
      queueUp(ticket);
      const stop = (): void => {
        deadlines.end(deadline);
        signal.removeEventListener('abort', onAbort);
      };
      const giveUp = (reason: Error): void => {
        withdraw(ticket);
        stop();
        reject(reason);
      };
      const onAbort = (): void => giveUp(signal.reason as Error);
      const deadline = deadlines.start(waitMs, () => giveUp(refuse('waited')));
      signal.addEventListener('abort', onAbort);
      ticket.granted = () => {
        stop();
        metrics.waited.observe((clock.monotonic() - since) / 1000);
        resolve(ticket);
      };
    });
  }

  return {
    enter({ id, namespaceId }, cost, applicant) {
      const caller = callers.of(id);
      const namespace = namespaces.of(namespaceId);
      const ticket = new Ticket(caller, namespace, cost, leave);
      if (caller.waiting === 0 && mayGrow(free, namespace.inside, caller.inside)) {
        goIn(ticket);
        metrics.waited.observe(0);
        return ticket;
      }
      if (!mayGrow(places - waiting, namespace.waiting, caller.waiting)) throw refuse('queue-full');
      if (expectedWaitMs(caller, namespace) > waitMs) throw refuse('too-slow');
      return wait(ticket, applicant.signal);
    },
    status: () => ({ inside: slots - free, waiting, tracked: callers.size }),
  };
}

/** @param rest what nobody has. Nothing left: nobody may. */
function mayGrow(rest: number, ofNamespace: number, ofCaller: number): boolean {
  const restOfNamespace = shareOfRest * rest - ofNamespace;
  return restOfNamespace > 0 && ofCaller < shareOfRest * Math.min(rest, restOfNamespace);
}

/** Who was served least, of those whose share is not used up. As long as the queue, which is bounded. */
function nextOf(queue: Iterable<NamespaceFlow>, free: number) {
  let next: { namespace: NamespaceFlow; caller: CallerFlow; ticket: Ticket } | undefined;
  if (free === 0) return undefined;
  for (const namespace of queue) {
    if (next !== undefined && namespace.served >= next.namespace.served) continue;
    const caller = nextCaller(namespace, free);
    const ticket = caller?.tickets.first();
    if (caller !== undefined && ticket !== undefined) next = { namespace, caller, ticket };
  }
  return next;
}

function nextCaller({ callers, inside }: NamespaceFlow, free: number): CallerFlow | undefined {
  let next: CallerFlow | undefined;
  for (const caller of callers) {
    if (next !== undefined && caller.served >= next.served) continue;
    if (mayGrow(free, inside, caller.inside)) next = caller;
  }
  return next;
}
