import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '../../client/client.ts';
import type { RewrapLineAnswer } from '../../client/types.ts';
import { Failed } from '../failed.ts';
import { type Cell, readCell } from './cell.ts';
import type { Change, Column, Row } from './column.ts';
import { isContended } from './postgres-column.ts';
import { countFailed, countOf, countUnreadable, createTally, type Tally } from './tally.ts';

/** What a row is held against. */
export interface Target {
  readonly keyId: string;
  /** Ordinals of versions, by id: of one that is not known here, the service is asked. Undefined for none of the key. */
  ordinalOf(versionId: string): Promise<number | undefined>;
  /** The version that was current at the start: those before it are moved. */
  readonly current: number;
  /** Pairs that every row has, and names of those that its columns have. */
  readonly context: Readonly<Record<string, string>>;
  readonly contextNames: readonly string[];
}

type Ciphertext = Extract<Cell, { kind: 'ciphertext' }>;

interface Old {
  readonly row: Row;
  readonly cell: Ciphertext;
}

/** Counts rows by what they are. @returns those of older versions */
export async function countRows(rows: readonly Row[], target: Target, tally: Tally): Promise<Old[]> {
  const old: Old[] = [];
  for (const row of rows) {
    tally.rows += 1;
    const cell = readCell(row, target.keyId);
    if (cell.kind === 'null') tally.nulls += 1;
    else if (cell.kind === 'foreign') tally.foreign += 1;
    else if (cell.kind === 'unreadable') countUnreadable(tally, row.id);
    else {
      const ordinal = await target.ordinalOf(cell.versionId);
      if (ordinal === undefined) countUnreadable(tally, row.id);
      else {
        countOf(tally.found, cell.versionId);
        if (ordinal < target.current) old.push({ row, cell });
      }
    }
  }
  return old;
}

/** Another transaction changed rows between their reading and their change. */
const attempts = 10;
const pauseMilliseconds = 50;

/** Moves the rows of a page that are of older versions, and counts. What is changed meanwhile is looked at again. */
export async function rewrapPage(
  page: readonly Row[],
  { column, client, target }: { column: Column; client: Client; target: Target },
  signal: AbortSignal,
): Promise<Tally> {
  const tally = createTally();
  let old = await countRows(page, target, tally);
  for (let attempt = 1; old.length > 0; attempt += 1) {
    const changes = await rewrapped(old, client, target, tally, signal);
    const lost = await updated(column, changes, tally, signal);
    if (lost.length === 0) break;
    if (attempt === attempts) {
      for (const { row, cell } of lost) countFailed(tally, cell.versionId, row.id, 'changed all the time');
      break;
    }
    await delay(pauseMilliseconds * attempt * Math.random(), undefined, { signal });
    // They were counted when they were read first; those that are gone, or newest now, are done.
    const again = await column.rows(lost.map(({ row }) => row.id));
    old = await countRows(again, target, createTally());
  }
  return tally;
}

interface Moved extends Old {
  readonly change: Change;
}

/** Failures of these rows alone; every other ends the run, which can be resumed. */
const ofTheRow = [
  'envelope/decryption-failed',
  'key/version-disabled',
  'key/version-expired',
  'request/invalid',
];
const passing = ['hsm/unavailable', 'store/unavailable', 'audit/unavailable', 'service/overloaded'];

async function rewrapped(
  old: readonly Old[],
  client: Client,
  target: Target,
  tally: Tally,
  signal: AbortSignal,
): Promise<Moved[]> {
  const moved: Moved[] = [];
  let left = old;
  for (let attempt = 1; left.length > 0; attempt += 1) {
    const again: Old[] = [];
    const lines = left.map(({ row, cell }) => ({
      ciphertext: cell.ciphertext,
      context: contextOf(row, target),
    }));
    let at = 0;
    for await (const answer of client.rewrapLines({ key: target.keyId, lines }, { signal })) {
      const item = left[at++];
      if (!item) throw new Failed('the service answered more than it was asked');
      if (answer.status === 'failed' && passing.includes(answer.problem.code)) again.push(item);
      else take(item, answer, moved, tally);
    }
    left = again;
    if (left.length > 0 && attempt === attempts)
      throw new Failed('the service cannot rewrap at the moment: run this again later');
    if (left.length > 0) await delay(200 * attempt, undefined, { signal });
  }
  return moved;
}

function take({ row, cell }: Old, answer: RewrapLineAnswer, moved: Moved[], tally: Tally): void {
  if (answer.status === 'failed') {
    const { code, detail } = answer.problem;
    if (!ofTheRow.includes(code)) throw new Failed(`${code}: ${detail}`);
    countFailed(tally, cell.versionId, row.id, code);
  } else if (answer.status === 'rewrapped') {
    const change = cell.change(answer.ciphertext);
    if (change) moved.push({ row, cell, change });
    else countFailed(tally, cell.versionId, row.id, 'of another length');
  }
}

function contextOf(row: Row, { context, contextNames }: Target): Record<string, string> {
  const pairs = { ...context };
  for (const [at, name] of contextNames.entries()) {
    const value = row.context[at];
    if (value !== null && value !== undefined) pairs[name] = value;
  }
  return pairs;
}

/** @returns those that were changed by somebody else since they were read */
async function updated(
  column: Column,
  moved: readonly Moved[],
  tally: Tally,
  signal: AbortSignal,
): Promise<Moved[]> {
  if (moved.length === 0) return [];
  for (let attempt = 1; ; attempt += 1) {
    try {
      const done = await column.update(moved.map(({ change }) => change));
      const lost = moved.filter((_, at) => done[at] !== true);
      for (const [at, { cell }] of moved.entries())
        if (done[at] === true) countOf(tally.rewrapped, cell.versionId);
      return lost;
    } catch (error) {
      if (!isContended(error) || attempt === attempts) throw error;
      await delay(pauseMilliseconds * attempt, undefined, { signal });
    }
  }
}
