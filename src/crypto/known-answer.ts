/** What is asked of this process at the start, before anything is made with it. */
export interface KnownAnswer {
  readonly algorithm: string;
  /** Undefined where there was none. */
  readonly answer: Uint8Array | undefined;
  readonly expected: Uint8Array;
}
