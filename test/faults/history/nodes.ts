import { setTimeout as delay } from 'node:timers/promises';
import { type Answer, startTestService, type TestService } from '../../support/service.ts';

/** Processes of the service over one database, some of which may be dead or stopped. */
export interface Nodes {
  /** Any that is not known to be dead. */
  pick(random: () => number): TestService | undefined;
  kill(index: number): Promise<void>;
  /** Starts what was killed. */
  start(index: number): Promise<void>;
  /** SIGSTOP, and after so long SIGCONT. */
  freeze(index: number, milliseconds: number): Promise<void>;
  /** Starts all that are dead, and waits until each is ready. */
  heal(): Promise<TestService[]>;
  dispose(): Promise<void>;
  readonly count: number;
}

export async function startNodes(
  places: readonly {
    readonly dataDir: string;
    readonly env: Readonly<Record<string, string>>;
    readonly token?: string;
  }[],
): Promise<Nodes> {
  const nodes: (TestService | undefined)[] = [];
  for (const place of places) nodes.push(await startTestService(place));

  async function start(index: number): Promise<void> {
    const place = places[index];
    if (nodes[index] === undefined && place) nodes[index] = await startTestService(place);
  }

  return {
    count: places.length,
    pick(random) {
      const alive = nodes.filter((node) => node !== undefined);
      return alive[Math.floor(random() * alive.length)];
    },
    async kill(index) {
      const node = nodes[index];
      nodes[index] = undefined;
      await node?.kill();
    },
    start,
    async freeze(index, milliseconds) {
      const node = nodes[index];
      if (!node) return;
      process.kill(node.pid, 'SIGSTOP');
      try {
        await delay(milliseconds);
      } finally {
        process.kill(node.pid, 'SIGCONT');
      }
    },
    async heal() {
      for (let index = 0; index < places.length; index += 1) await start(index);
      const all = nodes.filter((node) => node !== undefined);
      for (const node of all) await untilReady(node);
      return all;
    },
    async dispose() {
      for (const node of nodes) await node?.kill();
    },
  };
}

/** A ceiling far from what any fault takes to heal. */
const readyMilliseconds = 60_000;

async function untilReady(node: TestService): Promise<void> {
  const deadline = performance.now() + readyMilliseconds;
  for (let answer: Answer | undefined; answer?.status !== 200; ) {
    if (performance.now() > deadline) throw new Error(`not ready again: ${answer?.text ?? 'no answer'}`);
    answer = await node.call('GET', '/readyz').catch(() => undefined);
    await delay(50);
  }
}
