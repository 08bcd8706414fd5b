export type DestructionState = 'scheduled' | 'restored' | 'destroyed';

/** A version's way to its destruction. */
export interface DestructionRow {
  id: string;
  namespace_id: string;
  key_id: string;
  version_id: string;
  ordinal: number;
  state: DestructionState;
  /** Of the version, before. */
  previous_state: string;
  /** JSON of the evidence it was scheduled on; null where there was none. */
  coverage: string | null;
  /** Why it was scheduled without enough evidence; null where there was enough. */
  reason: string | null;
  /** Principal. */
  requested_by: string;
  scheduled_at: number;
  destroy_at: number;
  ended_at: number | null;
  /** The signed record, as JSON. */
  record: string | null;
  revision: number;
  mac: Uint8Array;
}

/** How long superseded versions of a key are kept. */
export interface RetentionRow {
  key_id: string;
  namespace_id: string;
  keep_latest: number | null;
  retire_after_seconds: number | null;
  finally: 'retire' | 'disable' | 'destroy';
  window_seconds: number;
  /** Why it goes on without evidence; null where it does not. */
  reason: string | null;
  updated_at: number;
  revision: number;
  mac: Uint8Array;
  /** When somebody looks again. It decides who looks, never what is done: not covered by the MAC. */
  next_at: number;
}
