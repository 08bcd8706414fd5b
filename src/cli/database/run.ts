import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '../../client/client.ts';
import { isStatheraError } from '../../client/errors.ts';
import { Failed } from '../failed.ts';
import type { Progress } from '../progress.ts';
import type { Column } from './column.ts';
import type { Target } from './pages.ts';
import { rewrapAll, scan } from './passes.ts';
import type { openResume } from './resume.ts';
import { add, createTally, sum, type Tally } from './tally.ts';
import type { Versions } from './target.ts';

export interface Run {
  readonly client: Client;
  readonly column: Column;
  readonly versions: Versions;
  readonly target: Target;
  readonly resume: ReturnType<typeof openResume>;
  readonly pageRows: number;
  readonly rate: number | undefined;
  /** How long nothing may be encrypted with an old version any more, before the last scans. */
  readonly settleMs: number;
  progress(label: string): Progress;
  /** Tells what is done now, and what cannot be. */
  note(text: string): void;
  readonly signal: AbortSignal;
}

export interface Outcome {
  /** By the last scan. */
  readonly last: Tally;
  readonly rewrapped: ReadonlyMap<string, number>;
  /** By the last time that they were tried. */
  readonly failed: Tally;
  /** Two scans in a row found the same. */
  readonly agreed: boolean;
  /** When the first of the two began, on the clock that never goes back. */
  readonly scanStarted: number;
}

/** Scans, each of which may find what needs another rewrapping. */
const scansLimit = 6;

/** Rewraps, ends the old versions' encryption, and scans until two scans agree. */
export async function rewrapColumn(run: Run): Promise<Outcome> {
  const { resume, note } = run;
  const begun = resume.read();
  const rewrapped = new Map(begun.rewrapped);
  if (begun.after) note(`goes on where an earlier run ended, by ${resume.file}`);
  let failed = await moveAll(run, rewrapped, begun.after);
  await retire(run);
  await settle(run);

  let previous: { readonly tally: Tally; readonly started: number } | undefined;
  for (let count = 1; ; count += 1) {
    const started = performance.now();
    const tally = await scan({ ...run, progress: run.progress('scan') });
    const agreed = previous !== undefined && isSame(previous.tally, tally, run.versions);
    const isLast = count === scansLimit;
    if (agreed || isLast) {
      resume.remove();
      return { last: tally, rewrapped, failed, agreed, scanStarted: previous?.started ?? started };
    }
    // Of an old version, and not because it cannot be moved: written or restored since.
    if (isMoreThanFailed(tally, failed, run.versions)) {
      previous = undefined;
      failed = await moveAll(run, rewrapped, undefined);
    } else previous = { tally, started };
  }
}

/** Failures without a success, and enough of them to see that something is wrong with all. */
const hopeless = 100;

async function moveAll(
  run: Run,
  rewrapped: Map<string, number>,
  from: readonly string[] | undefined,
): Promise<Tally> {
  const all = createTally();
  await rewrapAll({ ...run, progress: run.progress('rewrap') }, from, (after, found) => {
    add(all, found);
    for (const [versionId, count] of found.rewrapped)
      rewrapped.set(versionId, (rewrapped.get(versionId) ?? 0) + count);
    const failures = sum(all.failed);
    if (failures >= hopeless && sum(rewrapped) === 0)
      throw new Failed(
        `the first ${failures} ciphertexts could not be opened, none could: is the context what they were ` +
          'encrypted with? See --context and --context-column',
      );
    run.resume.write({ after, rewrapped });
  });
  return all;
}

/** From then on the old versions can open, and nothing else. */
async function retire({ client, versions: { keyId, current, all }, note }: Run): Promise<void> {
  for (const { version, state } of all) {
    if (state !== 'enabled' || version >= current) continue;
    try {
      await client.updateKeyVersion({ key: keyId, version, state: 'decrypt-only' });
    } catch (error) {
      if (!isStatheraError(error, 'access/denied')) throw error;
      note(
        `versions before ${current} are left enabled, although they encrypt no more: keys:admin makes them decrypt-only`,
      );
      return;
    }
  }
}

/** Clocks may differ by so much. */
const skewMs = 300_000;

/** Until nobody encrypts with an old version any more, whatever he has in memory. */
async function settle({ versions, settleMs, note, signal }: Run): Promise<void> {
  if (Date.now() - versions.currentCreatedAt > settleMs + skewMs) return;
  note(`waits ${Math.ceil(settleMs / 1000)} s: data keys of older versions may be in use for so long`);
  await delay(settleMs, undefined, { signal });
}

/** What was found of each old version, by its id. */
export function oldCounts(
  counts: ReadonlyMap<string, number>,
  { known, current }: Versions,
): Map<string, number> {
  return new Map([...counts].filter(([id]) => (known.get(id) ?? current) < current));
}

function isSame(one: Tally, other: Tally, versions: Versions): boolean {
  const text = (tally: Tally) => [
    ...[...oldCounts(tally.found, versions)].toSorted(([a], [b]) => (a < b ? -1 : 1)),
    tally.unreadable,
    tally.foreign,
  ];
  return JSON.stringify(text(one)) === JSON.stringify(text(other));
}

function isMoreThanFailed(tally: Tally, { failed }: Tally, versions: Versions): boolean {
  return [...oldCounts(tally.found, versions)].some(([id, count]) => count > (failed.get(id) ?? 0));
}
