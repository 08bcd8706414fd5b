import { setImmediate as nextTurn } from 'node:timers/promises';
import { createCache } from '../core/cache.ts';
import type { Clock } from '../core/clock.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyUsageRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import type { CipherVersion, FieldVersion } from './key.ts';
import type { RotateAfter } from './rotated.ts';

/**
 * Counts the uses of key versions without a write a use: each process reserves a block durably before it
 * uses any of it. A crash forfeits the rest of a block, never the other way round.
 */
export interface Usage {
  /**
   * Takes `uses`, and where the key counts them `bytes`, of the version's allowance; resolves without waiting while the
   * reserved block lasts.
   * @param after what the key is rotated after: a block is a 64th of it, so that the count is at most that far off for
   *   each process
   * @throws key/usage-exhausted at the suite's limit (NIST SP 800-38D §8.3)
   */
  take(version: CountedVersion, uses: number, bytes?: number, after?: RotateAfter): Promise<void>;
  /** Marks a version as used now, in memory. */
  touch(versionId: string): void;
  /** When it was last used, as far as this process knows without the store. Milliseconds. */
  lastUsed(versionId: string): number | undefined;
  /** Writes the last uses in bulk. */
  flush(): Promise<void>;
  /** Gives the rest of every block back and flushes. */
  close(): Promise<void>;
}

/** What is counted. */
export type CountedVersion = CipherVersion | FieldVersion;

interface Block {
  remaining: number;
  bytes: number;
  /** What the key was rotated after when it was reserved. */
  readonly after: RotateAfter;
}

const nothing: RotateAfter = {};
/** So many blocks make what a key is rotated after. */
const blocksOfLimit = 64;

export const blockUses = 2 ** 20;
const blocksLimit = 50_000;
const touchedLimit = 100_000;
/** Written at a time: a few milliseconds, after which everyone else has a turn. */
const flushRows = 100;

export function createUsage({
  store,
  rows,
  clock,
  onRotationDue,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  /** Called when a reservation passes the suite's rotation limit. */
  onRotationDue: (version: CountedVersion) => void;
}): Usage {
  const blocks = createCache<Block>(blocksLimit);
  let touched = new Map<string, number>();
  /** On their way to the store. */
  let writing: ReadonlyMap<string, number> = new Map();
  let flushed: Promise<void> = Promise.resolve();

  /** Adds to the durable count; compare-and-set, so that processes never share a block. */
  async function reserve(version: CountedVersion, rest: Block | undefined, wanted: Block): Promise<Block> {
    const { refuseAfterUses, rotateAfterUses } = version.suite;
    const { encryptions = rotateAfterUses, bytes = Number.POSITIVE_INFINITY } = wanted.after;
    for (let attempt = 0; attempt < 10; attempt += 1) {
      const row = await usageRow(store, rows, version.id);
      const reserved = Math.max(0, row.reserved + wanted.remaining - (rest?.remaining ?? 0));
      const reservedBytes =
        wanted.after.bytes === undefined
          ? row.reserved_bytes
          : Math.max(0, (row.reserved_bytes ?? 0) + wanted.bytes - (rest?.bytes ?? 0));
      if (reserved >= Math.min(encryptions, rotateAfterUses) || (reservedBytes ?? 0) >= bytes)
        onRotationDue(version);
      if (reserved > refuseAfterUses) {
        throw new ServiceError(
          'key/usage-exhausted',
          'This version has encrypted as often as is safe: rotate the key.',
        );
      }
      if (await writeReserved(store, rows, row, reserved, reservedBytes)) return { ...wanted };
    }
    throw new ServiceError('key/conflict', 'The usage count is being changed by others: try again.');
  }

  /** Emptied first: whoever still encrypts reserves anew instead of using what is given back. */
  async function giveBack(versionId: string, block: Block): Promise<void> {
    const rest = emptied(block);
    const row = await usageRow(store, rows, versionId);
    const bytes = row.reserved_bytes === null ? null : Math.max(0, row.reserved_bytes - rest.bytes);
    await writeReserved(store, rows, row, row.reserved - rest.remaining, bytes);
  }

  async function writeTouched(): Promise<void> {
    writing = touched;
    touched = new Map();
    const batch = [...writing];
    try {
      for (let at = 0; at < batch.length; at += flushRows) {
        await writeLastUses(store, batch.slice(at, at + flushRows));
        await nextTurn();
      }
    } catch (error) {
      // Kept for the next time, unless they were used again meanwhile.
      touched = new Map([...batch, ...touched]);
      throw error;
    } finally {
      writing = new Map();
    }
  }

  return {
    async take(version, uses, bytes = 0, after = nothing) {
      const counted = after.bytes === undefined ? 0 : bytes;
      let rest: Block | undefined;
      for (;;) {
        const block =
          blocks.peek(version.id) ??
          (await blocks.get(version.id, () => reserve(version, rest, blockFor(after, uses, counted))));
        if (block.remaining >= uses && block.bytes >= counted && isFor(block, after)) {
          block.remaining -= uses;
          block.bytes -= counted;
          return;
        }
        // Whoever comes first drops the block, and takes what is left of it into the next.
        rest = undefined;
        if (blocks.peek(version.id) !== block) continue;
        blocks.delete(version.id);
        rest = emptied(block);
      }
    },
    touch(versionId) {
      if (touched.size < touchedLimit || touched.has(versionId)) touched.set(versionId, clock.now());
    },
    lastUsed: (versionId) => touched.get(versionId) ?? writing.get(versionId),
    flush() {
      // After the one under way, which a stop must not cut off.
      flushed = flushed.catch(() => undefined).then(writeTouched);
      return flushed;
    },
    async close() {
      await this.flush();
      for (const [versionId, block] of [...blocks.entries()]) {
        await giveBack(versionId, block).catch(forfeited);
      }
      blocks.clear();
    },
  };
}

function blockFor(after: RotateAfter, uses: number, bytes: number): Block {
  const share = (limit: number) => Math.ceil(limit / blocksOfLimit);
  const { encryptions, bytes: byteLimit } = after;
  return {
    remaining: Math.max(
      uses,
      encryptions === undefined ? blockUses : Math.min(blockUses, share(encryptions)),
    ),
    bytes: byteLimit === undefined ? 0 : Math.max(bytes, share(byteLimit)),
    after,
  };
}

function isFor(block: Block, { encryptions, bytes }: RotateAfter): boolean {
  return block.after.encryptions === encryptions && block.after.bytes === bytes;
}

/** Nobody takes from it any more. @returns what was left */
function emptied(block: Block): Block {
  const rest = { ...block };
  block.remaining = 0;
  block.bytes = 0;
  return rest;
}

/** What cannot be given back is forfeited, as after a crash: it must not keep the rest from closing. */
function forfeited(error: unknown): void {
  if (!isServiceError(error)) throw error;
}

async function usageRow(store: Store, rows: RowAuthenticator, versionId: string): Promise<KeyUsageRow> {
  const row = await store.db
    .selectFrom('key_usage')
    .selectAll()
    .where('version_id', '=', versionId)
    .executeTakeFirst();
  if (!row) {
    throw new ServiceError('internal', 'A stored record is missing.', {
      cause: new Error('usage row missing'),
    });
  }
  await rows.verify('key_usage', row);
  return row;
}

async function writeLastUses(store: Store, uses: readonly (readonly [string, number])[]): Promise<void> {
  // Compiled once: building the query costs more than running it.
  const update = store.db
    .updateTable('key_usage')
    .set({ last_used_at: 0 })
    .where('version_id', '=', '')
    .compile();
  await store.transaction(async (tx) => {
    for (const [versionId, lastUsedAt] of uses) {
      await tx.executeQuery({ ...update, parameters: [lastUsedAt, versionId] });
    }
  });
}

async function writeReserved(
  store: Store,
  rows: RowAuthenticator,
  row: KeyUsageRow,
  reserved: number,
  reservedBytes: number | null,
): Promise<boolean> {
  const next = await rows.seal('key_usage', {
    version_id: row.version_id,
    namespace_id: row.namespace_id,
    reserved,
    reserved_bytes: reservedBytes,
    revision: row.revision + 1,
  });
  const result = await store.db
    .updateTable('key_usage')
    .set({ reserved, reserved_bytes: reservedBytes, revision: next.revision, mac: next.mac })
    .where('version_id', '=', row.version_id)
    .where('revision', '=', row.revision)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}
