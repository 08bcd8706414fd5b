import { setTimeout as delay } from 'node:timers/promises';
import { auditRecords } from '../../access/support.ts';
import type { TestService } from '../../support/service.ts';
import { createWorkload, makeKeys } from './clients.ts';
import type { History, Seen } from './history.ts';
import type { Nodes } from './nodes.ts';

/** Something that goes wrong for a while. Resolves when it is over, not when all has healed. */
export interface Fault {
  readonly name: string;
  strike(random: () => number): Promise<void>;
}

/** What happens to processes, whatever their database is. */
export function processFaults(nodes: Nodes): Fault[] {
  const any = (random: () => number) => Math.floor(random() * nodes.count);
  return [
    {
      name: 'a process is killed',
      async strike(random) {
        const index = any(random);
        await nodes.kill(index);
        await delay(random() * 1_000);
        await nodes.start(index);
      },
    },
    {
      name: 'a process is stopped and goes on',
      strike: (random) => nodes.freeze(any(random), 500 + random() * 2_500),
    },
  ];
}

/** Faults one after the other, at random, with quiet times between. @returns how often each struck */
export async function strikeAtRandom(
  faults: readonly Fault[],
  milliseconds: number,
  random: () => number,
): Promise<Map<string, number>> {
  const struck = new Map<string, number>();
  for (const until = performance.now() + milliseconds; performance.now() < until; ) {
    await delay(300 + random() * 1_200);
    const fault = faults[Math.floor(random() * faults.length)];
    if (!fault) continue;
    await fault.strike(random);
    struck.set(fault.name, (struck.get(fault.name) ?? 0) + 1);
  }
  return struck;
}

/** Runs clients while `disturb` does, heals all, and looks at what is there. */
export async function runHistory({
  nodes,
  disturb,
  seed,
}: {
  nodes: Nodes;
  disturb: (random: () => number, seen: readonly Seen[]) => Promise<ReadonlyMap<string, number>>;
  seed: number;
}): Promise<History & { readonly struck: ReadonlyMap<string, number> }> {
  const random = mulberry32(seed);
  const [first] = await nodes.heal();
  if (!first) throw new Error('there is no process');
  const keys = ['key-a', 'key-b', 'key-c'];
  await makeKeys(first, keys);
  const workload = createWorkload({
    nodes,
    admin: first.token,
    keys,
    users: 6,
    random: mulberry32(seed + 1),
  });
  workload.run();
  const struck = await disturb(random, workload.seen);
  const [node] = await nodes.heal();
  await workload.stop();
  if (!node) throw new Error('no process is left');
  return { ...(await lookAt(node, keys, workload.seen)), struck };
}

async function lookAt(node: TestService, keys: readonly string[], seen: readonly Seen[]): Promise<History> {
  const versions = new Map<string, readonly number[]>();
  for (const key of keys) {
    await patched(node, `/v1/keys/${key}`);
    const ordinals = await versionsOf(node, key);
    for (const version of ordinals) await patched(node, `/v1/keys/${key}/versions/${version}`);
    versions.set(key, ordinals);
  }
  const opened = new Map<string, string | undefined>();
  const sealed = seen.flatMap(({ what, outcome }) =>
    what.kind === 'encrypt' && outcome === 'accepted' && what.ciphertext !== undefined
      ? [what.ciphertext]
      : [],
  );
  const open = async (): Promise<void> => {
    for (let ciphertext = sealed.pop(); ciphertext !== undefined; ciphertext = sealed.pop()) {
      const { plaintext } = (await node.call('POST', '/v1/decrypt', { ciphertext })).body;
      opened.set(ciphertext, typeof plaintext === 'string' ? plaintext : undefined);
    }
  };
  await Promise.all(Array.from({ length: 16 }, open));
  const records = new Map<string, string[]>();
  for (const { requestId, outcome } of await auditRecords(node)) {
    const outcomes = records.get(requestId);
    if (outcomes) outcomes.push(outcome);
    else records.set(requestId, [outcome]);
  }
  return { seen, opened, versions, records };
}

async function patched(node: TestService, path: string): Promise<void> {
  const answer = await node.call('PATCH', path, { state: 'enabled' });
  if (answer.status !== 200) throw new Error(`not enabled again: ${path} ${answer.text}`);
}

async function versionsOf(node: TestService, key: string): Promise<number[]> {
  const found: number[] = [];
  for (let cursor = ''; ; ) {
    const answer = await node.call('GET', `/v1/keys/${key}/versions?limit=100${cursor}`);
    for (const item of answer.body['items'] as { version: number }[]) found.push(item.version);
    const next = answer.body['nextCursor'];
    if (typeof next !== 'string') return found;
    cursor = `&cursor=${next}`;
  }
}

/** Random numbers from 0 to 1 that a seed repeats. */
function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
