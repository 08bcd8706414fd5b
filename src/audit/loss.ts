import type { Clock } from '../core/clock.ts';
import type { Store } from '../store/store.ts';
import { localPlace } from './local-place.ts';
import { listSegments } from './place.ts';
import { placeOf } from './place-of.ts';
import { segmentRows } from './registry.ts';

export interface AcceptedLoss {
  readonly writer: string;
  readonly number: number;
  readonly file: string;
}

/**
 * An operator's word that segments which are not in the directory are lost, so that the log opens without
 * them. `verifyAudit` reports them for ever. A lost segment that was never sealed leaves nobody who knows
 * how far it went: its sequence numbers are given again.
 * @returns those accepted now; durable on return
 * @throws audit/unavailable when the directory exists and cannot be read
 */
export async function acceptLoss(store: Store, directory: string, clock: Clock): Promise<AcceptedLoss[]> {
  // The rows first: a segment is there before its row.
  const rows = await segmentRows(store.db);
  const places = [placeOf({ directory, store }), localPlace(directory)];
  // A log in the database may have files here that it does not have yet.
  const names = new Set((await Promise.all(places.map(listSegments))).flat());
  const lost = rows.filter((row) => row.loss_accepted_at === null && !names.has(row.file));
  await store.transaction(async (tx) => {
    for (const { id } of lost) {
      await tx
        .updateTable('audit_segments')
        .set({ loss_accepted_at: clock.now() })
        .where('id', '=', id)
        .execute();
    }
  });
  return lost.map(({ writer, number, file }) => ({ writer, number, file }));
}
