import { readdir } from 'node:fs/promises';
import type { Clock } from '../core/clock.ts';
import type { Store } from '../store/store.ts';
import { isMissing } from './files.ts';
import { segmentRows } from './registry.ts';
import { unavailable } from './unavailable.ts';

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
  const names = new Set(await list(directory));
  const lost = (await segmentRows(store.db)).filter(
    (row) => row.loss_accepted_at === null && !names.has(row.file),
  );
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

async function list(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw unavailable(`The audit directory ${directory} cannot be read.`, error);
  }
}
