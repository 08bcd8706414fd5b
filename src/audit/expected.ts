import type { AuditHead } from './audit.ts';

/** Heads exported earlier, held against the chain as it passes by. */
export interface ExpectedHeads {
  /** True when a head of this record was exported and not met yet. */
  awaits(writer: string, sequence: number): boolean;
  /** @param sequence of a record that a commit line covers: heads are exported only of those */
  see(writer: string, sequence: number, head: Uint8Array): void;
  /** What is wrong with those that were not met. */
  unmet(): { writer: string; what: string }[];
}

export function createExpectedHeads(expected: readonly AuditHead[]): ExpectedHeads {
  const open = new Map<string, { readonly head: AuditHead; seen: boolean }[]>();
  const key = (writer: string, sequence: number) => `${writer} ${sequence}`;
  for (const head of expected) {
    // Nothing precedes the first record, so there is nothing to hold against it.
    if (head.sequence === 0) continue;
    const at = key(head.writer, head.sequence);
    open.set(at, [...(open.get(at) ?? []), { head, seen: false }]);
  }
  return {
    awaits: (writer, sequence) => open.size > 0 && open.has(key(writer, sequence)),
    see(writer, sequence, head) {
      const at = key(writer, sequence);
      const waiting = open.get(at);
      if (!waiting) return;
      const hex = Buffer.from(head).toString('hex');
      const left = waiting.filter((one) => one.head.head !== hex);
      for (const one of left) one.seen = true;
      if (left.length === 0) open.delete(at);
      else open.set(at, left);
    },
    unmet: () =>
      [...open.values()].flat().map(({ head, seen }) => ({
        writer: head.writer,
        what: seen
          ? `record ${head.sequence} is not the one whose head was exported`
          : `record ${head.sequence}, whose head was exported, was not found: the log ends before it or is damaged`,
      })),
  };
}
