/** When a key is rotated next, and by what rule. */
export interface RotationScheduleRow {
  key_id: string;
  namespace_id: string;
  /** `namespace`: its policy is the namespace's default, and follows it. */
  source: 'key' | 'namespace';
  /** JSON, as rotation/policy.ts has it. */
  policy: string;
  /** 1 while it is paused. */
  paused: number;
  /** What the policy says; null where no date makes it due. */
  due_at: number | null;
  /** When the service acts: in a window, or after a failure. Null: never by itself. */
  act_at: number | null;
  /** The wall clock when `due_at` was computed: one of the future was written before the clock was set back. */
  reckoned_at: number;
  /** Since the last rotation. */
  failures: number;
  error_code: string | null;
  revision: number;
  mac: Uint8Array;
  /** Of `rotationShards`, by the key's id: one process at a time works on it. */
  shard: number;
}

/** What new keys of a namespace get; without a row it is what rotation/policy.ts has. */
export interface RotationDefaultRow {
  namespace_id: string;
  /** JSON; null: no rotation. */
  policy: string | null;
  /** JSON array of the purposes it is for. */
  purposes: string;
  updated_at: number;
  revision: number;
  mac: Uint8Array;
}

/** A rotation that was made: written once. */
export interface RotationRow {
  namespace_id: string;
  key_id: string;
  to_ordinal: number;
  to_version_id: string;
  /** 0 and '' for the first version of an imported key. */
  from_ordinal: number;
  from_version_id: string;
  cause: 'scheduled' | 'manual' | 'usage' | 'import';
  /** The date it was due by; of a key one of a date. */
  due_at: number | null;
  /** Kind, id and name of the principal. */
  by_kind: string;
  by_id: string;
  by_name: string;
  rotated_at: number;
  mac: Uint8Array;
}
