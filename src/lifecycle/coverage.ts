/** What the last scan of everything that was named to it says of one version. */
export interface CoverageEvidence {
  /** Ciphertexts of the version that were found. */
  readonly found: number;
  /** Of those, how many still depend on it. */
  readonly remaining: number;
  /** When the scan ended. Milliseconds. */
  readonly at: number;
  /** Where the evidence can be read: the id of its report. */
  readonly report: string;
}

/** Who knows whether ciphertexts still depend on a version. */
export interface Coverage {
  /** The latest evidence; `unknown` where nobody looked. */
  latest(version: {
    readonly namespaceId: string;
    readonly keyId: string;
    readonly versionId: string;
  }): Promise<CoverageEvidence | 'unknown'>;
}

/** Where nobody looks. */
export const unknownCoverage: Coverage = { latest: async () => 'unknown' };
