export type JobState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled';

/** Work that takes longer than a request. */
export interface JobRow {
  id: string;
  namespace_id: string;
  kind: string;
  /** JSON, as the kind's schema has it. */
  input: string;
  /** How many it has. */
  chunks: number;
  state: JobState;
  /** Principal. */
  created_by: string;
  error_code: string | null;
  /** JSON. */
  result: string | null;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
  revision: number;
  mac: Uint8Array;
}

/** What one process does of a job at a time. */
export interface JobChunkRow {
  job_id: string;
  /** From 0. */
  ordinal: number;
  namespace_id: string;
  /** JSON: which part of the work. */
  piece: string;
  state: 'open' | 'done' | 'failed';
  /** Where to go on. */
  cursor: string | null;
  done: number;
  total: number | null;
  /** Since it last got on. */
  attempts: number;
  /** Of the last attempt that failed. */
  error_code: string | null;
  /** JSON. */
  result: string | null;
  revision: number;
  mac: Uint8Array;
  /** As in a lease, and covered by the MAC as little. */
  holder: string | null;
  fence: number;
  beat: number;
  /** As in a lease; the pause before another attempt too. -1: there is nothing more to do. */
  quiet_milliseconds: number;
}
