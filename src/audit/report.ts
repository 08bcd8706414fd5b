import type { AuditHead } from './audit.ts';

export interface AuditProblem {
  readonly file: string;
  /** From 1. */
  readonly line?: number;
  /** Bytes before the line. */
  readonly offset?: number;
  readonly what: string;
}

export interface AuditLoss {
  readonly writer: string;
  readonly file: string;
  readonly firstSequence: number;
  /** Null: never sealed, nobody knows how far it went. */
  readonly lastSequence: number | null;
  /** Milliseconds: when an operator accepted it; null: not yet. */
  readonly acceptedAt: number | null;
}

export interface VerifyReport {
  /** Everything that must be there is, and everything that could be checked holds. */
  readonly ok: boolean;
  readonly segments: number;
  readonly records: number;
  readonly groups: number;
  /** Groups without a MAC of their own. */
  readonly unsignedGroups: number;
  /** The first ones; `problemCount` counts all. */
  readonly problems: readonly AuditProblem[];
  readonly problemCount: number;
  /** Missing segments, accepted or not. */
  readonly losses: readonly AuditLoss[];
  /** What was not checked, and why; the first ones. */
  readonly unchecked: readonly string[];
  /** The newest of each writer: export them, they are what later runs are held against. */
  readonly heads: readonly AuditHead[];
  /** Changes whose records still wait in the database. */
  readonly outboxPending: number;
}

const listed = 50;

/** Collects a report in bounded memory. */
export interface ReportBuilder {
  readonly counts: { segments: number; records: number; groups: number; unsignedGroups: number };
  problem(problem: AuditProblem): void;
  loss(loss: AuditLoss): void;
  unchecked(what: string): void;
  head(head: AuditHead): void;
  finish(outboxPending: number): VerifyReport;
}

export function createReport(): ReportBuilder {
  const counts = { segments: 0, records: 0, groups: 0, unsignedGroups: 0 };
  const problems: AuditProblem[] = [];
  const losses: AuditLoss[] = [];
  const notes: string[] = [];
  const heads: AuditHead[] = [];
  let [problemCount, lossCount] = [0, 0];
  return {
    counts,
    problem(problem) {
      problemCount += 1;
      if (problems.length < listed) problems.push(problem);
    },
    loss(loss) {
      lossCount += 1;
      if (losses.length < listed) losses.push(loss);
    },
    unchecked(what) {
      if (notes.length < listed) notes.push(what);
    },
    head: (head) => void heads.push(head),
    finish: (outboxPending) => ({
      ok: problemCount === 0 && lossCount === 0,
      ...counts,
      problems,
      problemCount,
      losses,
      unchecked: notes,
      heads,
      outboxPending,
    }),
  };
}
