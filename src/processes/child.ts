import cluster from 'node:cluster';
import { type FromProcess, type Manner, type ToProcess, toSupervisor } from './messages.ts';
import { watchUntaken } from './untaken.ts';

/** One process, as its supervisor sees it. */
export interface Child {
  /** From 1; a replacement has the number of the one that it replaces. */
  readonly number: number;
  readonly pid: number | undefined;
  /** Its address. @throws StartFailure when it ends before */
  readonly listening: Promise<string>;
  /** Never rejects. Everything that it sent has arrived. */
  readonly ended: Promise<Ending>;
  /** When it was last heard of, on the clock of `performance.now()`. */
  heardAt: number;
  send(message: ToProcess): void;
  /** Asks it to stop in order; SIGKILL after `withinMs`. */
  stop(manner: Manner, withinMs: number): void;
  kill(reason: KillReason): void;
}

export type KillReason = 'hung' | 'too-slow' | 'stopped';

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Set when the supervisor killed it. */
  readonly killed: KillReason | undefined;
  /** What it said of itself. */
  readonly failure: { readonly text: string; readonly code?: string | undefined } | undefined;
  /** From its address to its end; undefined when it never listened. */
  readonly servedMs: number | undefined;
}

/** A process ended before it listened. */
export class StartFailure extends Error {
  /** The code of the error in the process, if it has one. */
  readonly code: string | undefined;

  constructor(ending: Ending) {
    const { failure, signal, code } = ending;
    const how = signal === null ? `code ${code}` : `signal ${signal}`;
    super(failure?.text ?? `a process ended with ${how} before it listened: its log tells more`);
    // Its text says what to do, like that of a command that failed.
    this.name = 'Failed';
    this.code = failure?.code;
  }
}

export interface ChildOptions {
  readonly number: number;
  readonly port: number;
  readonly beatMs: number;
  /** Silence is counted only after so long from its start. */
  readonly quietMs: number;
  /** Called for what the supervisor deals with. */
  readonly onMessage: (message: FromProcess) => void;
}

/** Starts the program that `cluster.setupPrimary` names. */
export function startChild(options: ChildOptions): Child {
  const { number } = options;
  const worker = cluster.fork();
  const handOn = watchUntaken(worker);
  const listening = Promise.withResolvers<string>();
  // Some wait for its end alone.
  listening.promise.catch(() => undefined);
  let listeningSince: number | undefined;
  let failure: Ending['failure'];
  let killed: KillReason | undefined;
  let stopTimer: NodeJS.Timeout | undefined;
  const ended = endOf(worker).then(({ code, signal }) => {
    clearTimeout(stopTimer);
    handOn();
    const servedMs = listeningSince === undefined ? undefined : performance.now() - listeningSince;
    const ending: Ending = { code, signal, killed, failure, servedMs };
    listening.reject(new StartFailure(ending));
    return ending;
  });
  const child: Child = {
    number,
    pid: worker.process.pid,
    listening: listening.promise,
    ended,
    heardAt: performance.now() + options.quietMs,
    send: (message) => void worker.send(message, undefined, () => undefined),
    stop(manner, withinMs) {
      child.send({ type: 'stop', manner });
      clearTimeout(stopTimer);
      stopTimer = setTimeout(() => child.kill('stopped'), withinMs);
    },
    kill(reason) {
      killed ??= reason;
      worker.process.kill('SIGKILL');
    },
  };
  worker.on('message', (sent: unknown) => {
    child.heardAt = Math.max(child.heardAt, performance.now());
    const { data: message } = toSupervisor.safeParse(sent);
    if (message === undefined) return;
    if (message.type === 'failed') failure = message;
    if (message.type === 'listening') {
      listeningSince = performance.now();
      listening.resolve(message.url);
    }
    options.onMessage(message);
  });
  child.send({ type: 'start', number, port: options.port, beatMs: options.beatMs });
  return child;
}

/** Both its end and that of its channel: what it sent last comes between them. */
function endOf(
  worker: ReturnType<typeof cluster.fork>,
): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  return new Promise((resolve) => {
    let exit: { code: number | null; signal: NodeJS.Signals | null } | undefined;
    const look = () => {
      if (exit !== undefined && !worker.isConnected()) resolve(exit);
    };
    worker.process.on('exit', (code, signal) => {
      exit = { code, signal };
      look();
    });
    worker.process.on('disconnect', look);
    // No process came about, or a message did not get there.
    worker.on('error', () => {
      if (worker.process.pid === undefined) resolve({ code: null, signal: null });
    });
  });
}
