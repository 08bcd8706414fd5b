// What clients saw, and what was found at the end: plain values that check.ts judges.

/** One request and its answer, as its client saw them. */
export interface Seen {
  readonly requestId: string;
  /** Milliseconds on the one clock of all clients. */
  readonly began: number;
  readonly ended: number;
  /** `unknown`: no answer came. */
  readonly outcome: 'accepted' | 'refused' | 'unknown';
  readonly code?: string | undefined;
  readonly what: What;
}

export type What =
  | ({
      readonly kind: 'encrypt';
      readonly key: string;
      readonly token: string;
      readonly plaintext: string;
    } & Sealed)
  | ({
      readonly kind: 'decrypt';
      readonly key: string;
      readonly token: string;
      readonly expected: string;
    } & Opened)
  /** `attempt` is the Idempotency-Key: requests that share it are one. */
  | {
      readonly kind: 'rotate';
      readonly key: string;
      readonly attempt: string;
      readonly version?: number | undefined;
    }
  | { readonly kind: 'set-key'; readonly key: string; readonly usable: boolean }
  | { readonly kind: 'set-version'; readonly key: string; readonly version: number; readonly usable: boolean }
  | { readonly kind: 'revoke'; readonly token: string };

interface Sealed {
  /** Of an accepted one. */
  readonly ciphertext?: string | undefined;
  readonly version?: number | undefined;
}

interface Opened {
  /** The version that sealed it. */
  readonly version: number;
  /** Of an accepted one. */
  readonly plaintext?: string | undefined;
}

export interface History {
  readonly seen: readonly Seen[];
  /** When all was healed and everything usable again: what each acknowledged ciphertext opens to. */
  readonly opened: ReadonlyMap<string, string | undefined>;
  /** Ordinals of each key's versions. */
  readonly versions: ReadonlyMap<string, readonly number[]>;
  /** Outcomes of the audit records that name a request. */
  readonly records: ReadonlyMap<string, readonly string[]>;
}
