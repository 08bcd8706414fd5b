/** One column of an application's table that holds ciphertexts. Adapters: ./postgres-column.ts, ./sqlite-column.ts. */
export interface Column {
  /** For reports: the database without user and password. */
  readonly system: 'postgres' | 'sqlite';
  readonly database: string;
  /** About; undefined when nobody knows. */
  count(): Promise<number | undefined>;
  /** The rows after one, in the order of their ids. */
  page(after: Id | undefined, limit: number): Promise<Row[]>;
  /** Those that are still there. */
  rows(ids: readonly Id[]): Promise<Row[]>;
  /** Puts each new start in the place of the old one, where that is still there. @returns whether it was */
  update(changes: readonly Change[]): Promise<boolean[]>;
  close(): Promise<void>;
}

/** What a column is found by. Names are quoted, never part of the text of a query as they are. */
export interface ColumnName {
  /** With or without its schema. */
  readonly table: string;
  readonly column: string;
  /** Together they are unique. */
  readonly idColumns: readonly string[];
  /** Of each pair of the context that the row has. */
  readonly contextColumns: readonly string[];
  /** Names of members, of a column that holds JSON. */
  readonly path: readonly string[] | undefined;
}

/** The values of a row's id columns, as the database takes them back, and JSON can say them. */
export type Id = readonly string[];

export interface Row {
  readonly id: Id;
  /** The beginning of the value, as far as a header may go, or all of it; null where there is none. */
  readonly start: Uint8Array | string | null;
  /** Of the whole value, in bytes; where it is base64, in characters as well. */
  readonly length: number;
  /** In the order of `contextColumns`. */
  readonly context: readonly (string | null)[];
}

export interface Change {
  readonly id: Id;
  /** Both bytes or both text. */
  readonly from: Uint8Array | string;
  readonly to: Uint8Array | string;
  /** The length of the whole value, where `from` is all of it. */
  readonly whole: number | undefined;
}

/** A message that a key version made, or the header of a longer ciphertext, fits in so many bytes. */
export const startBytes = 4_224;
/** The same in base64. */
export const startCharacters = (startBytes / 3) * 4;

/** An identifier as both databases write it. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
