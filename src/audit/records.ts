import type { Store } from '../store/store.ts';
import type { AuditPage, AuditQuery, AuditRecord } from './audit.ts';
import { isWriterName } from './format.ts';
import type { AuditLimits } from './options.ts';
import type { LogPlace } from './place.ts';
import { badCursor, type Place, recordsBackward, type Stretch } from './records-stream.ts';
import { newestSegments } from './registry.ts';

export interface ReadOptions {
  readonly place: LogPlace;
  /** The slot of this process. */
  readonly writer: string;
  readonly store: Store;
  readonly limits: AuditLimits;
  /** The end of what is committed in its segment; undefined when none is open. */
  readonly durable: () => { readonly number: number; readonly bytes: number } | undefined;
}

/** One writer's part of a page. */
interface Stream {
  readonly writer: string;
  readonly stretches: AsyncGenerator<Stretch, undefined>;
  /** Where the next page goes on; undefined when nothing is left. */
  place: Place | undefined;
  /** Read and not given yet, newest first. */
  ready: Stretch['records'][number][];
  /** Of the stretch that `ready` is from. */
  next: Place | undefined;
  begun: boolean;
}

/**
 * One page of the records of every writer. Each writer's stay in their order; between writers the newer one by
 * time and id goes first. The segments are read backwards in blocks, and the page ends when its budget is spent, so
 * it can be short, even empty, and still have a cursor.
 * @throws request/invalid for a cursor that is none, audit/unavailable when a segment cannot be read
 */
export async function readRecords(options: ReadOptions, query: AuditQuery): Promise<AuditPage> {
  const budget = { lines: options.limits.pageLines, bytes: options.limits.pageBytes };
  const streams = await openStreams(options, query, budget);
  const spent = () => budget.lines <= 0 || budget.bytes <= 0;
  const items: AuditRecord[] = [];
  try {
    await Promise.all(streams.map((stream) => advance(stream, spent)));
    while (items.length < query.limit) {
      // Of a writer not read as far as its next record nobody knows whether that is the newest.
      if (streams.some(({ ready, place }) => ready.length === 0 && place)) break;
      const stream = newest(streams);
      const taken = stream?.ready.shift();
      if (!stream || !taken) break;
      items.push(taken.record);
      stream.place = taken.after;
      if (stream.ready.length > 0) continue;
      stream.place = stream.next ?? taken.after;
      if (items.length < query.limit) await advance(stream, spent);
    }
  } finally {
    await Promise.all(streams.map(({ stretches }) => stretches.return(undefined)));
  }
  const nextCursor = formatCursor(streams);
  return nextCursor === '' ? { items } : { items, nextCursor };
}

async function openStreams(
  { place: log, store, writer: own, durable }: ReadOptions,
  query: AuditQuery,
  budget: { lines: number; bytes: number },
): Promise<Stream[]> {
  const newestOf = new Map((await newestSegments(store.db)).map(({ writer, number }) => [writer, number]));
  const places =
    query.cursor === undefined
      ? [...newestOf.keys()].map((writer) => ({
          writer,
          place: { number: newestOf.get(writer) ?? 1, offset: undefined },
        }))
      : parseCursor(query.cursor);
  if (places.some(({ writer, place }) => place.number > (newestOf.get(writer) ?? 0))) throw badCursor();
  const blockBytes = Math.max(smallestBlockBytes, Math.floor(blocksBytes / Math.max(places.length, 4)));
  return places.map(({ writer, place }) => ({
    writer,
    place,
    ready: [],
    next: undefined,
    begun: false,
    stretches: recordsBackward({
      ...{ place: log, store, writer, query, from: place, blockBytes },
      durable: writer === own ? durable : () => undefined,
      spend(bytes) {
        budget.lines -= 1;
        budget.bytes -= bytes;
      },
    }),
  }));
}

/** What the streams' blocks take together: 256 KiB each up to four of them. */
const blocksBytes = 1024 * 1024;
const smallestBlockBytes = 8 * 1024;

/** Reads on to the stream's next record. Whatever is left of the budget, a page moves each stream once. */
async function advance(stream: Stream, spent: () => boolean): Promise<void> {
  while (stream.ready.length === 0 && stream.place && !(stream.begun && spent())) {
    const step = await stream.stretches.next();
    if (step.done === true) {
      stream.place = undefined;
      return;
    }
    const { records, before, after } = step.value;
    stream.begun = true;
    stream.ready = [...records];
    stream.next = after;
    stream.place = records.length > 0 ? before : after;
  }
}

function newest(streams: readonly Stream[]): Stream | undefined {
  let found: Stream | undefined;
  for (const stream of streams) {
    const [one, other] = [stream.ready[0]?.record, found?.ready[0]?.record];
    if (!one) continue;
    if (!other || one.time > other.time || (one.time === other.time && one.id > other.id)) found = stream;
  }
  return found;
}

const radix = 36;

function formatCursor(streams: readonly Stream[]): string {
  return encodePlaces(streams.flatMap(({ writer, place }) => (place ? [{ writer, place }] : [])));
}

function encodePlaces(places: readonly { writer: string; place: Place }[]): string {
  const parts = places.map(
    ({ writer, place: { number, offset } }) =>
      `${writer}.${number.toString(radix)}.${offset?.toString(radix) ?? ''}`,
  );
  return Buffer.from(parts.join(',')).toString('base64url');
}

function parseCursor(text: string): { writer: string; place: Place }[] {
  const places = Buffer.from(text, 'base64url')
    .toString('latin1')
    .split(',')
    .map((part) => {
      const [writer = '', number = '', offset = '', ...more] = part.split('.');
      if (!isWriterName(writer) || more.length > 0) throw badCursor();
      const place = {
        number: Number.parseInt(number, radix),
        offset: offset === '' ? undefined : Number.parseInt(offset, radix),
      };
      if (!(place.number >= 1) || !Number.isSafeInteger(place.offset ?? 0)) throw badCursor();
      return { writer, place };
    });
  const writers = places.map(({ writer }) => writer);
  if (new Set(writers).size !== writers.length || encodePlaces(places) !== text) throw badCursor();
  return places;
}
