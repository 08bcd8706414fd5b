import type { RotationRow } from '../store/rotation-rows.ts';
import type { StoreTransaction } from '../store/store.ts';

/** What happened to a key's rotation. Times in milliseconds. */
export interface RotationEvent {
  /** `due`: by date, told once, when the service first acts on it. */
  readonly type: 'rotation.due' | 'rotation.done' | 'rotation.failed';
  readonly namespaceId: string;
  readonly keyId: string;
  readonly at: number;
  readonly dueAt?: number;
  /** Of `done`. */
  readonly cause?: RotationRow['cause'];
  readonly fromVersion?: number;
  readonly toVersion?: number;
  /** Of `failed`: an error code. */
  readonly code?: string;
}

/**
 * Told of everything that happens to rotations, scheduled or not, in the transaction in which it does: what it writes is
 * there exactly when the rotation is. May run more than once; has no effect but through `tx`.
 */
export type OnRotation = (tx: StoreTransaction, events: readonly RotationEvent[]) => Promise<void>;
