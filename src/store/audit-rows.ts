/** Which process writes which part of a log that is in the database. */
export interface AuditWriterRow {
  writer: string;
  namespace_id: string;
  /** Grows whenever a process takes it: what one before wrote as its holder is refused. */
  epoch: number;
  /** 1 while a process has it. */
  held: number;
  /** Grows while that lives. */
  beat: number;
}

/** A log that is in the database: the bytes of a segment, in pieces. */
export interface AuditSegmentBytesRow {
  namespace_id: string;
  writer: string;
  number: number;
  /** Bytes of the segment before these. */
  start: number;
  bytes: Uint8Array;
}
