import type { Principal } from '../access/caller.ts';
import type { Purpose } from '../crypto/suites.ts';
import type { RotationRow } from '../store/rotation-rows.ts';
import type { StoreTransaction } from '../store/store.ts';

/** A new version of a key, as its history has it. */
export interface Rotated {
  readonly keyId: string;
  readonly keyName: string;
  readonly namespaceId: string;
  readonly cause: RotationRow['cause'];
  /** Ordinal 0 and an empty id: there was none. */
  readonly from: VersionPlace;
  readonly to: VersionPlace;
  readonly by: Pick<Principal, 'kind' | 'id' | 'name'>;
  /** Milliseconds. */
  readonly at: number;
}

export interface VersionPlace {
  readonly ordinal: number;
  readonly id: string;
}

/** A version of the key is replaced after so many; null: by other rules alone. */
export interface RotateAfter {
  readonly encryptions?: number;
  readonly bytes?: number;
}

/** What keys say to whoever rotates them (../rotation/hooks.ts): its rows are in the transactions of theirs. */
export interface RotationHooks {
  /** Reads and seals; the function given back writes. */
  created(key: NewKey): Promise<{
    readonly rotateAfter: string | null;
    insert(tx: StoreTransaction): Promise<void>;
  }>;
  /** @throws key/conflict from the function given back when the key's schedule was changed meanwhile */
  rotated(rotated: Rotated): Promise<(tx: StoreTransaction) => Promise<void>>;
}

export interface NewKey {
  readonly id: string;
  readonly namespaceId: string;
  readonly purpose: Purpose;
  /** Its versions are imported. */
  readonly external: boolean;
  readonly at: number;
}
