import { hash } from 'node:crypto';
import { z } from 'zod';
import { lengthPrefixed } from '../core/bytes.ts';
import { labels } from '../crypto/labels.ts';
import { type AuditEntry, auditEntrySchema } from './entry.ts';

/**
 * The bytes of a segment file; ./README.md explains them. A line is canonical JSON: the members in the order
 * of the schemas here, no white space, strings as JSON.stringify writes them, one `\n` after it.
 */
const hex32 = z.string().regex(/^[0-9a-f]{64}$/);
const writerName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/);
const natural = z.int().min(0);

const headerSchema = z.strictObject({
  format: z.literal(1),
  writer: writerName,
  number: z.int().min(1),
  firstSequence: z.int().min(1),
  /** The chain's head before the first record. */
  previousHead: hex32,
  /** The MAC of the commit line that ends the previous segment; null when it has none or is lost. */
  previousMac: hex32.nullable(),
  /** Where the previous segment ends. */
  previousBytes: natural,
  /** At most so many bytes may follow that end: a failed write that could not be cut off. Never acknowledged. */
  previousTornBytes: z.int().min(1).optional(),
  createdAt: natural,
});

const commitSchema = z.strictObject({
  commit: z.strictObject({ sequence: z.int().min(1), head: hex32, mac: hex32.nullable() }),
});

const recordSchema = z.strictObject({ sequence: z.int().min(1), ...auditEntrySchema.shape });

export type SegmentHeader = z.infer<typeof headerSchema>;
export type Commit = z.infer<typeof commitSchema>['commit'];
export type StoredRecord = z.infer<typeof recordSchema>;

/** A line longer than this is none of ours: 1,000 items with every character escaped take 1.7 MB. */
export const lineLimitBytes = 4 * 1024 * 1024;

export const genesisHead: Buffer = Buffer.alloc(32);
export const noLine: Buffer = Buffer.alloc(0);
export const newline = 0x0a;

export function isWriterName(text: string): boolean {
  return writerName.safeParse(text).success;
}

export function segmentFile(writer: string, number: number): string {
  return `${writer}-${String(number).padStart(8, '0')}.ndjson`;
}

/** The writer and number a segment file's name tells; undefined for any other file. */
export function parseSegmentFile(name: string): { writer: string; number: number } | undefined {
  const match = /^([a-z0-9][a-z0-9-]{0,31})-(\d{8,})\.ndjson$/.exec(name);
  const writer = match?.[1];
  const number = Number(match?.[2]);
  if (writer === undefined || segmentFile(writer, number) !== name) return undefined;
  return { writer, number };
}

/**
 * The canonical JSON of an entry.
 * @throws TypeError for what the schema does not allow: nothing but its members ever reaches the log
 */
export function encodeEntry(entry: AuditEntry): string {
  const parsed = auditEntrySchema.safeParse(entry);
  if (!parsed.success) {
    const where = parsed.error.issues[0]?.path.join('.') ?? '';
    throw new TypeError(`an audit entry breaks its schema at '${where}'`);
  }
  return JSON.stringify(parsed.data);
}

/** A record line without its newline. @param entryText from `encodeEntry` */
export function encodeRecord(sequence: number, entryText: string): Buffer {
  return Buffer.from(`{"sequence":${sequence},${entryText.slice(1)}`);
}

export function encodeHeader(header: SegmentHeader): Buffer {
  return Buffer.from(JSON.stringify(headerSchema.parse(header)));
}

export function encodeCommit(sequence: number, head: Uint8Array, mac: string | null): Buffer {
  return Buffer.from(JSON.stringify({ commit: { sequence, head: toHex(head), mac } }));
}

export type Line =
  | { readonly kind: 'header'; readonly header: SegmentHeader }
  | { readonly kind: 'record'; readonly record: StoredRecord }
  | { readonly kind: 'commit'; readonly commit: Commit };

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads one line strictly: a member too many, a name given twice, another order or spelling than the
 * canonical one, bytes that are no UTF-8 all give undefined.
 */
export function parseLine(bytes: Uint8Array): Line | undefined {
  try {
    const text = decoder.decode(bytes);
    const value: unknown = JSON.parse(text);
    const line = classify(text, value);
    return line && canonicalText(line) === text ? line : undefined;
  } catch {
    return undefined;
  }
}

function classify(text: string, value: unknown): Line | undefined {
  if (text.startsWith('{"sequence":')) return { kind: 'record', record: recordSchema.parse(value) };
  if (text.startsWith('{"commit":')) return { kind: 'commit', commit: commitSchema.parse(value).commit };
  if (text.startsWith('{"format":')) return { kind: 'header', header: headerSchema.parse(value) };
  return undefined;
}

function canonicalText(line: Line): string {
  if (line.kind === 'record') return JSON.stringify(line.record);
  return JSON.stringify(line.kind === 'commit' ? { commit: line.commit } : line.header);
}

/** What one record's step of the chain covers, besides the label. */
interface ChainStep {
  readonly writer: string;
  readonly sequence: number;
  /** The head before it, 32 bytes. */
  readonly head: Uint8Array;
  /** The header or commit line that stands between the record before it and this one; empty within a group. */
  readonly between: Uint8Array;
  /** The record line without its newline. */
  readonly record: Uint8Array;
}

/**
 * The chain's head after a record: SHA-256 over
 * lengthPrefixed(label, writer, sequence as 8 bytes, head, between, record).
 * This is done for every record on the main thread, so the fields are laid out in one buffer by hand.
 */
export function chainHead({ writer, sequence, head, between, record }: ChainStep): Buffer {
  if (prefix.writer !== writer) {
    prefix = { writer, bytes: Buffer.from(lengthPrefixed(labels.auditChain, writer)) };
  }
  const bytes = prefix.bytes.length + 12 + 3 * 4 + head.length + between.length + record.length;
  const input = bytes <= scratch.length ? scratch : Buffer.allocUnsafe(bytes);
  input.set(prefix.bytes);
  let at = input.writeUInt32BE(8, prefix.bytes.length);
  at = input.writeBigUInt64BE(BigInt(sequence), at);
  for (const field of [head, between, record]) {
    at = input.writeUInt32BE(field.length, at);
    input.set(field, at);
    at += field.length;
  }
  return hash('sha256', input.subarray(0, at), 'buffer');
}

/** The first two fields, the same for every record of a writer. */
let prefix = { writer: '', bytes: noLine };
const scratch = Buffer.allocUnsafe(8192);

/** What a group's MAC covers: the whole chain up to and including its last record. */
export function groupMacInput(writer: string, sequence: number, head: Uint8Array): Uint8Array {
  return lengthPrefixed(labels.auditGroup, writer, uint64(sequence), head);
}

function uint64(value: number): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, BigInt(value));
  return out;
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
