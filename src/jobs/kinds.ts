import type { z } from 'zod';
import type { Caller } from '../access/caller.ts';
import type { Operation } from '../access/operations.ts';
import type { Scope } from '../access/scopes.ts';
import type { StoreTransaction } from '../store/store.ts';

/** What JSON can say. */
export type Json = z.core.util.JSONType;

/** A part of a job that one process works on at a time. */
export interface Chunk<Input, Piece> {
  readonly jobId: string;
  readonly namespaceId: string;
  /** From 0. */
  readonly ordinal: number;
  readonly input: Input;
  readonly piece: Piece;
  /** Of the last step that was committed, by whatever process; undefined before the first. */
  readonly cursor: string | undefined;
  readonly done: number;
}

/** How far a chunk is. */
export interface Step {
  /** Where to go on: up to 1,024 characters. Default: as it was. */
  readonly cursor?: string | undefined;
  /** So many of `total`, since the chunk's beginning. */
  readonly done: number;
  readonly total?: number | undefined;
}

export interface ChunkContext {
  /** The service itself, in the job's namespace, with the kind's scopes; its records name the job as the request. */
  readonly caller: Caller;
  /** Aborted when the job is cancelled, the process stops, the chunk was taken over, or it got nowhere for too long. */
  readonly signal: AbortSignal;
  /**
   * Commits an effect together with how far the chunk is: both or neither, and neither once another process has the
   * chunk or the job was cancelled. May reject after it committed, to let others have a turn: let its errors through.
   * @param apply may run more than once; has no effect but through `tx`
   * @param within an operation whose record commits with it
   * @throws lease/lost, and what `apply` throws
   */
  commit<T>(
    step: Step,
    apply: (tx: StoreTransaction) => Promise<T>,
    within?: Pick<Operation, 'change'>,
  ): Promise<T>;
  /**
   * Commits how far the chunk is, of work that cannot go on from a cursor: it does not give way to others.
   * @throws lease/lost
   */
  report(step: Step): Promise<void>;
}

/** A kind of work. Its handler goes on from `chunk.cursor`: what it did after its last `commit` is done again. */
export interface JobKind<Input = unknown, Piece = unknown> {
  /** `area.verb`; up to 64 characters, stored with each job. */
  readonly kind: string;
  readonly input: z.ZodType<Input>;
  /** What makes one chunk different from another. */
  readonly piece: z.ZodType<Piece>;
  /** What the handler may do as `context.caller`. */
  readonly scopes: readonly Scope[];
  /** Attempts without getting on after which a chunk has failed. Default 5. */
  readonly attempts?: number;
  /** One job of it, with `recurs.input` and one chunk, is made when the last is so old, by one of all processes. */
  readonly recurs?: { readonly everyMilliseconds: number; readonly input: Input; readonly piece: Piece };
  /** @returns up to 16 KiB of JSON: the chunk's result; the job's, when it has one chunk */
  run(chunk: Chunk<Input, Piece>, context: ChunkContext): Promise<Json | undefined>;
  /** Makes one result of those of two chunks; without it, a job of several chunks has none. */
  merge?(one: Json, other: Json): Json;
}

// A list of kinds forgets their schemas and keeps what the runner calls: inputs and pieces are parsed before.
export type AnyKind = Omit<JobKind, 'input' | 'piece' | 'run'> & {
  readonly input: z.ZodType;
  readonly piece: z.ZodType;
  run(chunk: Chunk<never, never>, context: ChunkContext): Promise<Json | undefined>;
};

/** Checks a kind's types against each other and forgets them. */
export function defineKind<Input, Piece>(kind: JobKind<Input, Piece>): AnyKind {
  return kind;
}

export const jobLimits = {
  /** Of input, piece and result, each. */
  jsonCharacters: 16_384,
  cursorCharacters: 1_024,
  chunks: 10_000,
  /** Waiting or running, of a namespace. */
  active: 1_000,
} as const;
