/** The pauses before a process is started again: none, `firstMs`, and twice the last up to `lastMs`. */
export interface Pauses {
  nextMs(): number;
  /** It ran for a while: the next failure starts with no pause. */
  reset(): void;
}

export function createPauses({ firstMs, lastMs }: { firstMs: number; lastMs: number }): Pauses {
  let failures = 0;
  return {
    nextMs() {
      const pauseMs = failures === 0 ? 0 : Math.min(lastMs, firstMs * 2 ** (failures - 1));
      failures = Math.min(failures + 1, 64);
      return pauseMs;
    },
    reset() {
      failures = 0;
    },
  };
}
