import type { StoreTransaction } from '../store/store.ts';
import { type AuditFiles, isMissing } from './files.ts';
import { unavailable } from './unavailable.ts';

/** A writer's name while it is this process's. */
export interface Slot {
  readonly writer: string;
  /** Writes are the holder's alone: they fail once another process has the slot. */
  readonly files: AuditFiles;
  /**
   * Takes the slot anew where the place was replaced.
   * @throws audit/unavailable when another process has it there
   */
  renew(): void;
  /** Holds the slot for a transaction that says something of its segments. @throws audit/unavailable when it is another's */
  confirm(tx: StoreTransaction): Promise<void>;
  /** Is told, once, when another process has taken the slot over. */
  onLost(listener: () => void): void;
  release(): Promise<void>;
}

/** Where the segments are and who writes which. Adapters: ./local-place.ts, ./database-place.ts. */
export interface LogPlace {
  /** What the paths of segments begin with. */
  readonly directory: string;
  /** To read; what a writer writes with is its slot's. */
  readonly files: AuditFiles;
  /** Makes the place, for a log that has no segments yet. @throws audit/unavailable */
  create(): Promise<void>;
  /**
   * The slot of that name, or the first that nobody has of `w1`, `w2`, …
   * @throws audit/unavailable when the slot, or every slot, is taken, or the place cannot be written
   */
  take(wanted?: string): Promise<Slot>;
  /** @returns undefined while another process has the slot */
  tryTake(writer: string): Promise<Slot | undefined>;
  /** Slots whose process ended without a word, where that does not free them by itself. */
  abandoned(): Promise<readonly string[]>;
}

/** Names of what is there; none where there is no place. @throws audit/unavailable */
export async function listSegments({ directory, files }: LogPlace): Promise<string[]> {
  try {
    return await files.list(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw unavailable(`The audit directory ${directory} cannot be read.`, error);
  }
}
