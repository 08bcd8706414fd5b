/** One version of a schema of fields. Rows are added, never changed. */
export interface FieldSchemaRow {
  /** Of the schema: the same in all its versions. */
  id: string;
  namespace_id: string;
  name: string;
  /** From 1, without gaps. */
  version: number;
  /** JSON: which field is treated how. */
  definition: string;
  created_at: number;
  mac: Uint8Array;
}
