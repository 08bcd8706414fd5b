/** What a scan of one place found of a key's ciphertexts. Rows are added, never changed. */
export interface CoverageReportRow {
  id: string;
  namespace_id: string;
  key_id: string;
  /** SHA-256 of `place`, in hex: reports of one place follow each other. */
  place_id: string;
  /** JSON: where was looked. */
  place: string;
  /** The version that was current when the scan began; it speaks of those before it alone. */
  current_version_id: string;
  current_ordinal: number;
  /** JSON: what was found, version by version. */
  counts: string;
  /** 1: two scans in a row found the same. */
  agreed: number;
  /** When the first of them began. */
  scan_started_at: number;
  /** JSON: principal. */
  reported_by: string;
  created_at: number;
  mac: Uint8Array;
}
