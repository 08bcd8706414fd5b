import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { bootstrapToken, runMain } from '../../support/data.ts';
import { startPostgres } from '../../support/postgres.ts';
import { check, type Violation } from './check.ts';
import type { History, Seen } from './history.ts';
import { type Nodes, startNodes } from './nodes.ts';
import { runHistory } from './run.ts';

/** What a cluster of three nodes over one PostgreSQL went through, and what its clients saw of it. */
export interface ClusterReport {
  readonly history: History;
  readonly violations: readonly Violation[];
  readonly outages: readonly Outage[];
}

/** The longest time without an answer that something was done, from a fault to the next. */
export interface Outage {
  readonly fault: string;
  readonly milliseconds: number;
  /** Answers other than that, and none. */
  readonly errors: number;
}

interface Step {
  readonly atMilliseconds: number;
  readonly fault: string;
  strike(): Promise<void>;
}

/**
 * Three nodes, each with a token of its own that was enrolled, under load: a node is killed, PostgreSQL restarts, a
 * token vanishes and comes back.
 * @param say is told what happens
 */
export async function runCluster({
  milliseconds,
  seed,
  say,
}: {
  milliseconds: number;
  seed: number;
  say: (text: string) => void;
}): Promise<ClusterReport> {
  const server = await startPostgres();
  const root = mkdtempSync(join(tmpdir(), 'stathera-cluster-'));
  let nodes: Nodes | undefined;
  try {
    const url = await server.createDatabase();
    const places = ['a', 'b', 'c'].map((name) => {
      const dataDir = join(root, name);
      return { dataDir, env: { STATHERA_DATABASE_URL: url, STATHERA_DATA_DIR: dataDir } };
    });
    const [first, ...others] = places;
    if (!first) throw new Error('no place');
    await runMain(['init'], first.env);
    say('node a: its token holds the keys');
    for (const other of others)
      say(`node ${other.dataDir.at(-1)}: enrolled ${await enrol(first.env, other)}`);
    const token = await bootstrapToken(first.dataDir);
    nodes = await startNodes(places.map((place) => ({ ...place, token })));
    const running = nodes;
    const tokens = join(root, 'c', 'hsm', 'tokens');
    const steps: Step[] = [
      { atMilliseconds: 0, fault: 'nothing', strike: async () => undefined },
      {
        ...{ atMilliseconds: milliseconds * 0.2, fault: 'node b is killed' },
        async strike() {
          await running.kill(1);
          await delay(milliseconds * 0.1);
          await running.start(1);
        },
      },
      {
        ...{ atMilliseconds: milliseconds * 0.45, fault: 'PostgreSQL is killed and restarts' },
        async strike() {
          await server.kill();
          await server.start();
        },
      },
      {
        ...{ atMilliseconds: milliseconds * 0.7, fault: 'the token of node c vanishes' },
        async strike() {
          renameSync(tokens, `${tokens}.gone`);
          await delay(milliseconds * 0.15);
          renameSync(`${tokens}.gone`, tokens);
        },
      },
    ];
    let outages: Outage[] = [];
    const history = await runHistory({
      nodes,
      seed,
      async disturb(_random, seen) {
        const { struckAt, ended } = await follow(steps, milliseconds, say);
        outages = steps.map(({ fault }, index) =>
          outageBetween(seen, fault, struckAt[index] ?? 0, struckAt[index + 1] ?? ended),
        );
        return new Map(steps.map(({ fault }) => [fault, 1]));
      },
    });
    return { history, violations: check(history, 500), outages };
  } finally {
    await nodes?.dispose();
    await server.remove();
    rmSync(root, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The three steps of the ceremony. @returns the fingerprint that two people would compare */
async function enrol(
  enrolled: Readonly<Record<string, string>>,
  { dataDir, env }: { dataDir: string; env: Readonly<Record<string, string>> },
): Promise<string> {
  const file = `${dataDir}.request`;
  await runMain(['hsm', 'enrol', 'request', '-o', file, '--json'], env);
  const shown = JSON.parse((await runMain(['hsm', 'enrol', 'approve', file, '--json'], enrolled)).stdout);
  const { fingerprint } = shown as { fingerprint: string };
  const approval = ['hsm', 'enrol', 'approve', file, '--fingerprint', fingerprint, '--json'];
  const { confirmation } = JSON.parse((await runMain(approval, enrolled)).stdout) as { confirmation: string };
  await runMain(['hsm', 'enrol', 'accept', '--confirmation', confirmation], env);
  if (!existsSync(join(dataDir, 'initialized'))) throw new Error(`${dataDir} was not initialized`);
  return fingerprint;
}

async function follow(steps: readonly Step[], milliseconds: number, say: (text: string) => void) {
  const since = performance.now();
  const struckAt: number[] = [];
  for (const { atMilliseconds, fault, strike } of steps) {
    await delay(Math.max(0, since + atMilliseconds - performance.now()));
    struckAt.push(performance.now());
    say(`${((performance.now() - since) / 1000).toFixed(1).padStart(5)} s: ${fault}`);
    await strike();
  }
  await delay(Math.max(0, since + milliseconds - performance.now()));
  return { struckAt, ended: performance.now() };
}

function outageBetween(seen: readonly Seen[], fault: string, from: number, to: number): Outage {
  const within = seen.filter(({ ended }) => ended >= from && ended < to);
  let last = from;
  let longest = 0;
  for (const { ended } of within
    .filter(({ outcome }) => outcome === 'accepted')
    .toSorted((a, b) => a.ended - b.ended)) {
    longest = Math.max(longest, ended - last);
    last = ended;
  }
  const errors = within.filter(
    ({ outcome, code }) => outcome === 'unknown' || /unavailable|overloaded/.test(code ?? ''),
  );
  return { fault, milliseconds: Math.max(longest, to - last), errors: errors.length };
}
