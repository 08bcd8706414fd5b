/** What an analyst asked of a dataset, and the answer, which is computed once. */
export interface DatasetQueryRow {
  id: string;
  namespace_id: string;
  dataset_id: string;
  /** Name of the principal. */
  analyst: string;
  /** SHA-256 of `query`: the same query of an analyst is the same row. */
  digest: Uint8Array;
  /** JSON in the one form that queries have. */
  query: string;
  /** In units of the dataset's budget. */
  units: number;
  /** JSON: by output a number for each part, with noise; null before it is answered. */
  numbers: string | null;
  created_at: number;
  answered_at: number | null;
  revision: number;
  mac: Uint8Array;
  /** The newest that computes it: where progress is read, and covered by no MAC. */
  job: string;
}

/** What was spent of a dataset's budget. */
export interface DatasetBudgetRow {
  dataset_id: string;
  /** Name of the principal; empty: what all of them spent, and which parts of the dataset were answered about. */
  analyst: string;
  namespace_id: string;
  units: number;
  answers: number;
  /** JSON: of a dataset whose answers may not overlap, what they were about; null in the rows of analysts. */
  regions: string | null;
  revision: number;
  mac: Uint8Array;
}
