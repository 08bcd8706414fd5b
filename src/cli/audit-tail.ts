import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { isStatheraError } from '../client/errors.ts';
import type { AuditRecord, Client } from '../client/index.ts';
import { printable } from '../client/problems.ts';
import { mayPass } from '../client/retries.ts';
import { explain } from './explain.ts';
import { interruptible } from './interrupt.ts';
import type { Surroundings } from './surroundings.ts';

export interface TailOptions {
  readonly lines: number;
  readonly follow?: true;
  readonly interval: number;
  readonly action?: string;
  readonly outcome?: AuditRecord['outcome'];
  readonly target?: string;
  readonly service?: true;
}

/** Records taken with one reading at most; a log that grows faster than it is read must not fill the memory. */
const mostAtOnce = 10_000;
/** Records read again to find new ones among them; most often little is new. */
const overlap = 200;
const remembered = 1_000;

export async function tailLog(
  options: TailOptions,
  command: Command,
  { client, environment }: Surroundings,
): Promise<void> {
  const own = new Set<string>();
  const service = await client({
    hooks: {
      onRequest({ requestId }) {
        own.add(requestId);
        const [oldest] = own;
        if (own.size > remembered && oldest !== undefined) own.delete(oldest);
      },
    },
  });
  const isOwn = ({ requestId }: AuditRecord) => own.has(requestId);
  const asJson = command.optsWithGlobals<{ json?: true }>().json === true;
  const show = (records: readonly AuditRecord[]): void => {
    for (const record of records) console.log(asJson ? JSON.stringify(record) : lineOf(record));
  };
  const note = (text: string) => console.error(`stathera: ${text}`);
  await interruptible(async (signal) => {
    const log = { service, options, signal, isOwn };
    const first = await newest(log);
    show(first.records);
    if (options.follow)
      await follow(log, {
        marks: first.marks,
        show,
        note,
        explainError: (error) => explain(error, environment),
      });
  });
}

interface Log {
  readonly service: Client;
  readonly options: TailOptions;
  readonly signal: AbortSignal;
  /** Of a reading that this command made. */
  isOwn(record: AuditRecord): boolean;
}

type Marks = ReadonlyMap<string, number>;

interface Found {
  /** Oldest first. */
  readonly records: readonly AuditRecord[];
  /** The sequence of each writer's newest record there is, whether it is one of them or not. */
  readonly marks: Marks;
}

async function newest({ service, options, signal, isOwn }: Log): Promise<Found> {
  const { action, outcome, target, lines } = options;
  const scope = options.service && ({ service: 'true' } as const);
  const { items: last } = await service.listAuditRecords({ ...scope, limit: overlap }, { signal });
  const filter = { ...(action && { action }), ...(outcome && { outcome }), ...(target && { target }) };
  const records: AuditRecord[] = [];
  for await (const record of service.listAuditRecords.all(
    { ...scope, ...filter, limit: Math.min(1000, lines + 1) },
    { signal },
  )) {
    if (records.length >= lines) break;
    if (!isOwn(record)) records.push(record);
  }
  return { records: records.toReversed(), marks: marksOf([...last, ...records]) };
}

function marksOf(records: readonly AuditRecord[], before?: Marks): Marks {
  const marks = new Map(before);
  for (const { writer, sequence } of records) marks.set(writer, Math.max(marks.get(writer) ?? 0, sequence));
  return marks;
}

/**
 * What was written since. Filtered here: the service would look for older ones that match, to the log's beginning.
 * Each writer's records come in order, but one's new record may stand behind another's known ones: it is looked
 * for among the newest of those.
 */
async function since(
  { service, options, signal, isOwn }: Log,
  marks: Marks,
): Promise<Found & { cut: boolean }> {
  const scope = options.service && ({ service: 'true' } as const);
  const seen: AuditRecord[] = [];
  let [known, cut] = [0, false];
  for await (const record of service.listAuditRecords.all({ ...scope, limit: overlap }, { signal })) {
    const isKnown = record.sequence <= (marks.get(record.writer) ?? 0);
    if (isKnown) known += 1;
    if (known >= overlap) break;
    cut = seen.length >= mostAtOnce;
    if (cut) break;
    if (!isKnown) seen.push(record);
  }
  const records = seen.filter((record) => !isOwn(record) && isWanted(record, options));
  return { records: records.toReversed(), marks: marksOf(seen, marks), cut };
}

async function follow(
  log: Log,
  deps: {
    marks: Marks;
    show(records: readonly AuditRecord[]): void;
    note(text: string): void;
    explainError(error: unknown): string;
  },
): Promise<never> {
  let { marks } = deps;
  let away = false;
  for (;;) {
    await delay(log.options.interval * 1000, undefined, { signal: log.signal });
    try {
      const found = await since(log, marks);
      if (away) deps.note('the service answers again');
      away = false;
      if (found.cut) deps.note(`more than ${mostAtOnce} new records: the oldest of them are left out`);
      deps.show(found.records);
      ({ marks } = found);
    } catch (error) {
      if (!isStatheraError(error) || !mayPass(error)) throw error;
      if (!away) deps.note(`${deps.explainError(error)} Trying again until it does.`);
      away = true;
    }
  }
}

/** As the service's own filters see it: a batch is found by its items too. */
function isWanted(record: AuditRecord, { action, outcome, target }: TailOptions): boolean {
  const parts = [record, ...(record.items ?? [])];
  return (
    (outcome === undefined || record.outcome === outcome) &&
    (action === undefined || parts.some((part) => part.action === action)) &&
    (target === undefined || parts.some((part) => part.target?.id === target || part.target?.name === target))
  );
}

function lineOf(record: AuditRecord): string {
  const { time, outcome, action, target, principal, source, code, items } = record;
  const named = (what: { name?: string | undefined; id?: string | undefined; kind: string } | undefined) =>
    what === undefined ? '-' : (what.name ?? what.id ?? what.kind);
  const version = target?.version === undefined ? '' : `@${target.version}`;
  const parts = [
    time,
    outcome.padEnd(7),
    action.padEnd(18),
    `${named(target)}${version}`,
    `by ${named(principal)}`,
    ...(source === undefined ? [] : [`from ${source}`]),
    ...(code === undefined ? [] : [code]),
    ...(items === undefined ? [] : [`${items.length} items`]),
  ];
  return printable(parts.join('  '));
}
