import cluster from 'node:cluster';
import { setTimeout as delay } from 'node:timers/promises';
import { type Child, StartFailure, startChild } from './child.ts';
import { createExposition } from './exposition.ts';
import type { FromProcess, Manner } from './messages.ts';
import { createPauses, type Pauses } from './pauses.ts';
import { freePort } from './port.ts';
import { createSupervisorMetrics } from './supervisor-metrics.ts';
import { createWatch } from './watch.ts';

type Log = (level: 'info' | 'warn' | 'error', event: string, fields: object) => void;

/** Runs processes of one program on one port. */
export interface Supervisor {
  /**
   * Starts the processes, one at a time. @returns when all have ended after `stop`: whether each did so in order
   * @throws StartFailure when the very first ends before it listens
   */
  run(): Promise<boolean>;
  /** Replaces each process, one at a time: the new one listens before the old one stops. */
  roll(): void;
  /** Ends all processes in order. */
  stop(): void;
  /** Ends all processes at once. */
  kill(): void;
}

export interface SupervisorOptions {
  /** At least 1. */
  readonly processes: number;
  /** What a process runs: it calls `joinSupervisor`. */
  readonly program: { readonly exec: string; readonly args: readonly string[] };
  readonly listen: { readonly host: string; readonly port: number };
  readonly limits: SupervisorLimits;
  readonly log: Log;
  /** Called once, when the first process listens. */
  readonly onListening: (url: string) => void;
}

export interface SupervisorLimits {
  readonly beatMs: number;
  /** A process whose main thread gives no sign of life for so long is killed. */
  readonly hungAfterMs: number;
  /** Not counted, from its start on: it loads its program. */
  readonly quietMs: number;
  readonly startWithinMs: number;
  readonly stopWithinMs: number;
  /** For its measurements. */
  readonly answerWithinMs: number;
  /** Before a process is started again: none, `firstPauseMs`, twice the last up to `lastPauseMs`. */
  readonly firstPauseMs: number;
  readonly lastPauseMs: number;
  /** After so long a process is steady: when it ends, the pauses start anew. */
  readonly steadyAfterMs: number;
}

export const supervisorDefaults = {
  beatMs: 500,
  quietMs: 20_000,
  // A start may have a long log to look through.
  startWithinMs: 600_000,
  answerWithinMs: 2_000,
  firstPauseMs: 250,
  lastPauseMs: 30_000,
  steadyAfterMs: 60_000,
} as const satisfies Partial<SupervisorLimits>;

/** The place of one process; the processes in it come and go. */
interface Slot {
  readonly number: number;
  readonly pauses: Pauses;
  /** The one that serves. */
  child: Child | undefined;
}

export function createSupervisor(options: SupervisorOptions): Supervisor {
  const { limits, log } = options;
  const slots = Array.from(
    { length: options.processes },
    (_, index): Slot => ({
      number: index + 1,
      pauses: createPauses({ firstMs: limits.firstPauseMs, lastMs: limits.lastPauseMs }),
      child: undefined,
    }),
  );
  /** Everyone who has not ended. */
  const children = new Set<Child>();
  const serving = () => slots.flatMap(({ child }) => child ?? []);
  const metrics = createSupervisorMetrics({ wanted: slots.length, running: () => serving().length });
  const exposition = createExposition({
    children: () => [...children],
    serving,
    own: (silent) => metrics.read(silent),
    withinMs: limits.answerWithinMs,
  });
  const stopped = new AbortController();
  const watch = createWatch(children, limits, (child, silentMs) => {
    log('error', 'process.hung', {
      process: child.number,
      childPid: child.pid,
      silentMs: Math.round(silentMs),
    });
    child.kill('hung');
  });
  let inOrder = true;
  let announced = false;
  let port = 0;
  let turn: Promise<unknown> = Promise.resolve();
  let rolling = false;
  let rollAgain = false;
  const replacing = new Set<Child>();

  /** One start at a time: each logs in to the token, and a machine that starts all at once starts none in time. */
  function inTurn<Value>(work: () => Promise<Value>): Promise<Value> {
    const result = turn.then(work);
    turn = result.catch(() => undefined);
    return result;
  }

  function onMessage(child: Child, message: FromProcess): void {
    if (message.type === 'replace') void replace(child);
    if (message.type === 'samples') exposition.onSamples(child, message.id, message.families);
    if (message.type === 'page') {
      void exposition.page().then((text) => child.send({ type: 'text', id: message.id, text }));
    }
  }

  function launch(slot: Slot): Child {
    const child: Child = startChild({
      ...{ number: slot.number, port, beatMs: limits.beatMs, quietMs: limits.quietMs },
      onMessage: (message) => onMessage(child, message),
    });
    children.add(child);
    void child.ended.then((ending) => {
      children.delete(child);
      exposition.onEnded(child);
      const { code, signal, killed, failure, servedMs } = ending;
      const asked = stopped.signal.aborted || (slot.child !== child && servedMs !== undefined);
      if (asked && code === 0) return;
      if (asked) inOrder = false;
      log('error', 'process.ended', {
        ...{ process: slot.number, childPid: child.pid, code, signal, killed },
        ...(failure && { reason: failure.text }),
        ...(servedMs !== undefined && { servedMs: Math.round(servedMs) }),
      });
    });
    if (stopped.signal.aborted) child.stop('at-once', limits.stopWithinMs);
    return child;
  }

  /**
   * Starts a process for the slot, if it is still wanted when its turn comes.
   * @returns the one that had the place and is to stop
   * @throws StartFailure
   */
  function fill(slot: Slot, wanted: () => boolean): Promise<Child | undefined> {
    return inTurn(async () => {
      if (stopped.signal.aborted || !wanted()) return undefined;
      const child = launch(slot);
      const late = setTimeout(() => child.kill('too-slow'), limits.startWithinMs);
      const url = await child.listening.finally(() => clearTimeout(late));
      const before = slot.child;
      slot.child = child;
      log('info', 'process.listening', { process: slot.number, childPid: child.pid });
      if (!announced && !stopped.signal.aborted) options.onListening(url);
      announced = true;
      void child.ended.then(({ killed, servedMs = 0 }) => {
        if (slot.child !== child) return;
        slot.child = undefined;
        if (stopped.signal.aborted) return;
        if (servedMs >= limits.steadyAfterMs) slot.pauses.reset();
        metrics.count(killed === 'hung' ? 'hung' : 'ended');
        void refill(slot);
      });
      return before;
    });
  }

  async function refill(slot: Slot): Promise<void> {
    while (slot.child === undefined && !stopped.signal.aborted) {
      const pauseMs = slot.pauses.nextMs();
      if (pauseMs > 0) log('warn', 'process.start-postponed', { process: slot.number, pauseMs });
      await delay(pauseMs, undefined, { signal: stopped.signal }).catch(() => undefined);
      await fill(slot, () => slot.child === undefined).catch(() => metrics.count('start-failed'));
    }
  }

  /** What asks goes on until another serves in its place. */
  async function replace(child: Child): Promise<void> {
    const slot = slots.find((one) => one.child === child);
    if (!slot || replacing.has(child)) return;
    replacing.add(child);
    log('warn', 'process.replacing', { process: slot.number, childPid: child.pid });
    const old = await fill(slot, () => slot.child === child).catch(() => {
      metrics.count('start-failed');
      return undefined;
    });
    replacing.delete(child);
    if (!old || stopped.signal.aborted) return;
    metrics.count('asked');
    old.stop('unnoticed', limits.stopWithinMs);
  }

  async function rollAll(): Promise<void> {
    log('info', 'processes.rolling', {});
    for (const slot of slots) {
      let old: Child | undefined;
      try {
        old = await fill(slot, () => true);
      } catch {
        metrics.count('start-failed');
        log('error', 'processes.roll-ended', { process: slot.number });
        return;
      }
      if (stopped.signal.aborted) return;
      metrics.count('rolled');
      old?.stop('unnoticed', limits.stopWithinMs);
      await old?.ended;
    }
    log('info', 'processes.rolled', {});
  }

  async function rollWhileAsked(): Promise<void> {
    rolling = true;
    do {
      rollAgain = false;
      await rollAll();
    } while (rollAgain && !stopped.signal.aborted);
    rolling = false;
  }

  function stopAll(manner: Manner): void {
    for (const child of children) child.stop(manner, limits.stopWithinMs);
  }

  return {
    async run() {
      cluster.schedulingPolicy = cluster.SCHED_RR;
      cluster.setupPrimary({ exec: options.program.exec, args: [...options.program.args] });
      try {
        port = options.listen.port || (await freePort(options.listen.host));
        const [first, ...others] = slots;
        if (first !== undefined) await fill(first, () => true);
        for (const slot of others) void refill(slot);
      } catch (error) {
        if (!(error instanceof StartFailure && stopped.signal.aborted)) throw error;
      } finally {
        if (!announced) watch.end();
      }
      if (!stopped.signal.aborted) {
        await new Promise<void>((resolve) => {
          stopped.signal.addEventListener('abort', () => resolve(), { once: true });
        });
      }
      // A start that is under way may add one.
      await turn;
      await Promise.all([...children].map(({ ended }) => ended));
      watch.end();
      return inOrder;
    },
    roll() {
      rollAgain = true;
      if (!rolling && !stopped.signal.aborted) void rollWhileAsked();
    },
    stop() {
      if (stopped.signal.aborted) return;
      stopped.abort();
      stopAll('at-once');
    },
    kill() {
      for (const child of children) child.kill('stopped');
    },
  };
}
