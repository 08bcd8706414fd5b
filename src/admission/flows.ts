import { createLinkedList, type Linked } from '../core/linked-list.ts';
import { createLru, type Lru } from '../core/lru.ts';

/** What one caller or one namespace has of a lane. */
interface Use {
  /** Requests at work. */
  inside: number;
  /** Requests in the queue. */
  waiting: number;
  /** How much was served to it from the queue, on the scale of those it waits with. */
  served: number;
}

export class CallerFlow implements Use, Linked<CallerFlow> {
  before: CallerFlow | undefined = undefined;
  after: CallerFlow | undefined = undefined;
  inside = 0;
  waiting = 0;
  served = 0;
  /** Its queue, in the order of arrival. */
  readonly tickets = createLinkedList<Ticket>();
}

export class NamespaceFlow implements Use, Linked<NamespaceFlow> {
  before: NamespaceFlow | undefined = undefined;
  after: NamespaceFlow | undefined = undefined;
  inside = 0;
  waiting = 0;
  served = 0;
  /** Its callers that wait. */
  readonly callers = createLinkedList<CallerFlow>();
  /** What the caller served last had been served before. */
  now = 0;
}

/** A place at work; the request gives it back when its work has ended. */
export interface Place {
  /** More than once does no harm. */
  leave(): void;
}

/** A request in a lane: first it may wait, then it is a place. */
export class Ticket implements Place, Linked<Ticket> {
  before: Ticket | undefined = undefined;
  after: Ticket | undefined = undefined;
  readonly caller: CallerFlow;
  readonly namespace: NamespaceFlow;
  /** What it counts for among those that wait. */
  readonly cost: number;
  /** Of one that waits: told that it may go in. */
  granted: (() => void) | undefined = undefined;
  readonly #leave: (ticket: Ticket) => void;
  #inside = false;

  constructor(caller: CallerFlow, namespace: NamespaceFlow, cost: number, leave: (ticket: Ticket) => void) {
    this.caller = caller;
    this.namespace = namespace;
    this.cost = cost;
    this.#leave = leave;
  }

  goIn(): void {
    this.#inside = true;
  }

  leave(): void {
    if (!this.#inside) return;
    this.#inside = false;
    this.#leave(this);
  }
}

/** Uses by id. They stay when nobody is there, for the next request: a table that only grows costs least. */
export interface Flows<Flow> {
  of(id: string): Flow;
  readonly size: number;
}

/** @param limit kept at most; one in use is never dropped, so it must be more than can be in use at once */
export function createFlows<Flow extends Use>(make: () => Flow, limit: number): Flows<Flow> {
  const byId = createLru<Flow>();
  return {
    of(id) {
      const known = byId.use(id);
      if (known !== undefined) return known;
      if (byId.size >= limit) dropOldest(byId);
      const made = make();
      byId.set(id, made);
      return made;
    },
    get size() {
      return byId.size;
    },
  };
}

function dropOldest(byId: Lru<Use>): void {
  for (let id = byId.oldest(); id !== undefined; id = byId.oldest()) {
    const { inside, waiting } = byId.get(id) ?? { inside: 0, waiting: 0 };
    if (inside + waiting === 0) return byId.delete(id);
    byId.use(id);
  }
}
