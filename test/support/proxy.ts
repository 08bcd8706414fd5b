import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** A TCP proxy on 127.0.0.1 that fails as networks do. */
export interface TestProxy {
  readonly port: number;
  /** From now on nothing gets through, and nobody is told: open connections stay open, new ones are accepted. */
  swallow(): void;
  /** As `swallow`, but what clients send does get through. */
  loseAnswers(): void;
  /** From now on new connections lead to this port. */
  lead(port: number): void;
  /** Ends every connection; new ones get through. */
  cut(): void;
  /** Holds everything up for so long, in both directions; 0 is at once again. */
  slow(milliseconds: number): void;
  /** All gets through again; connections that lost something are ended. */
  pass(): void;
  /** Calls back once, before what a client sends that contains `text` gets through. */
  onceSent(text: string, call: () => void): void;
  close(): Promise<void>;
}

/** @param to the port of 127.0.0.1 that it leads to */
export async function startTestProxy(to: number): Promise<TestProxy> {
  const sockets = new Set<Socket>();
  const lossy = new Set<Socket>();
  const swallowed = { questions: false, answers: false };
  let lateMilliseconds = 0;
  let upstreamPort = to;
  let watch: { text: string; call: () => void } | undefined;

  function tie(from: Socket, to: Socket, what: 'questions' | 'answers'): void {
    sockets.add(from);
    from.on('data', (data) => {
      if (what === 'questions' && watch && data.includes(watch.text)) {
        const { call } = watch;
        watch = undefined;
        call();
      }
      if (swallowed[what]) lossy.add(from).add(to);
      else if (lateMilliseconds === 0) to.write(data);
      else setTimeout(() => to.writable && to.write(data), lateMilliseconds);
    });
    from.on('error', () => undefined);
    from.on('close', () => {
      sockets.delete(from);
      if (swallowed[what]) lossy.add(to);
      else to.destroy();
    });
  }

  const server = createServer((client) => {
    const upstream = connect(upstreamPort, '127.0.0.1');
    tie(client, upstream, 'questions');
    tie(upstream, client, 'answers');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  function pass(): void {
    swallowed.questions = false;
    swallowed.answers = false;
    for (const socket of lossy) socket.destroy();
    lossy.clear();
  }
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    swallow: () => {
      swallowed.questions = true;
      swallowed.answers = true;
    },
    loseAnswers: () => {
      swallowed.answers = true;
    },
    pass,
    lead(port) {
      upstreamPort = port;
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    slow(milliseconds) {
      lateMilliseconds = milliseconds;
    },
    onceSent: (text, call) => {
      watch = { text, call };
    },
    async close() {
      pass();
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}
