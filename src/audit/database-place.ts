import { type Kysely, type Selectable, sql } from 'kysely';
import { serviceNamespaceId } from '../core/ids.ts';
import type { Schema } from '../store/schema.ts';
import { isUniqueViolation, type Store } from '../store/store.ts';
import { databaseFiles } from './database-files.ts';
import { mostSlots } from './lock.ts';
import type { LogPlace, Slot } from './place.ts';
import { unavailable } from './unavailable.ts';

type WriterRow = Selectable<Schema['audit_writers']>;

const beatMilliseconds = 1_000;

/**
 * A log in PostgreSQL. A slot is a row of `audit_writers`: whoever takes it adds one to its epoch, and every write
 * is conditional on that. The holder adds to `beat` every second; a slot whose beat another process saw unchanged
 * for `silentMilliseconds` of its own clock is that process's to take over. No clock is compared with another's,
 * and a holder that only seemed dead can write nothing any more.
 */
export function databasePlace(store: Store, silentMilliseconds = 10_000): LogPlace {
  const { db } = store;
  /** The held slots as they were seen, and since when. */
  const seen = new Map<string, { readonly row: WriterRow; readonly since: number }>();

  async function look(): Promise<WriterRow[]> {
    const rows = await db.selectFrom('audit_writers').selectAll().orderBy('writer').execute();
    for (const row of rows) {
      const before = seen.get(row.writer)?.row;
      const same = before?.epoch === row.epoch && before.beat === row.beat && row.held === 1;
      if (!same) seen.set(row.writer, { row, since: performance.now() });
    }
    return rows;
  }

  function isSilent({ writer, held }: WriterRow): boolean {
    const since = seen.get(writer)?.since ?? Number.POSITIVE_INFINITY;
    return held === 1 && performance.now() - since > silentMilliseconds;
  }

  /** @returns undefined when another process was first */
  async function claim(writer: string, row: WriterRow | undefined): Promise<Slot | undefined> {
    const epoch = (row?.epoch ?? 0) + 1;
    const taken = row ? await takeOver(db, row) : await insert(db, writer);
    return taken ? databaseSlot(store, writer, epoch) : undefined;
  }

  return {
    directory: 'audit_segment_bytes',
    files: databaseFiles(store),
    create: async () => undefined,
    async take(wanted) {
      const rows = new Map((await look()).map((row) => [row.writer, row]));
      const names =
        wanted === undefined ? Array.from({ length: mostSlots }, (_, at) => `w${at + 1}`) : [wanted];
      for (const name of names) {
        const row = rows.get(name);
        if (row?.held === 1 && !isSilent(row)) continue;
        const slot = await claim(name, row);
        if (slot) return slot;
      }
      throw unavailable(
        wanted === undefined
          ? `${mostSlots} processes write the audit log already: no more can.`
          : `Another process writes the audit log as ${wanted}: stop it first.`,
      );
    },
    async tryTake(writer) {
      const row = (await look()).find((one) => one.writer === writer);
      return row?.held === 1 && !isSilent(row) ? undefined : await claim(writer, row);
    },
    abandoned: async () => (await look()).filter(isSilent).map(({ writer }) => writer),
  };
}

async function insert(db: Kysely<Schema>, writer: string): Promise<boolean> {
  try {
    await db
      .insertInto('audit_writers')
      .values({ writer, namespace_id: serviceNamespaceId, epoch: 1, held: 1, beat: 0 })
      .execute();
    return true;
  } catch (error) {
    if (isUniqueViolation(error)) return false;
    throw error;
  }
}

async function takeOver(db: Kysely<Schema>, { writer, epoch, held, beat }: WriterRow): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('audit_writers')
    .set({ epoch: epoch + 1, held: 1, beat: beat + 1 })
    .where('writer', '=', writer)
    .where('epoch', '=', epoch)
    .where('held', '=', held)
    .where('beat', '=', beat)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

function databaseSlot(store: Store, writer: string, epoch: number): Slot {
  const { db } = store;
  const listeners: (() => void)[] = [];
  let state: 'held' | 'lost' | 'released' = 'held';

  function lost(): void {
    if (state !== 'held') return;
    state = 'lost';
    clearInterval(beating);
    for (const listener of listeners) listener();
  }

  async function change(values: { held: number }): Promise<boolean> {
    const { numUpdatedRows } = await db
      .updateTable('audit_writers')
      .set({ ...values, beat: sql<number>`beat + 1` })
      .where('writer', '=', writer)
      .where('epoch', '=', epoch)
      .where('held', '=', 1)
      .executeTakeFirst();
    return numUpdatedRows === 1n;
  }

  async function beat(): Promise<void> {
    try {
      if (!(await change({ held: 1 }))) lost();
    } catch {
      // Tried again; when it stays away for long, another process will have taken the slot.
    }
  }

  const beating = setInterval(() => void beat(), beatMilliseconds).unref();
  return {
    writer,
    files: databaseFiles(store, { writer, epoch, lost }),
    renew: () => undefined,
    async confirm(tx) {
      const { rows } = await sql`
        select writer from audit_writers where writer = ${writer} and epoch = ${epoch} and held = 1
        for no key update`.execute(tx);
      if (rows.length === 1) return;
      lost();
      throw unavailable('Another process took this one for dead and writes its part of the log.');
    },
    onLost: (listener) => void listeners.push(listener),
    async release() {
      clearInterval(beating);
      if (state !== 'held') return;
      state = 'released';
      // Without it another process finds the slot silent.
      await change({ held: 0 }).catch(() => false);
    },
  };
}
