/** What may follow a command, for the shells' scripts. */
export interface Place {
  /** The words that lead here: `keys create`; empty for the program. */
  readonly path: string;
  readonly commands: readonly Word[];
  readonly options: readonly Choice[];
  /** What its arguments may be. */
  readonly values: readonly string[];
  readonly takesFiles: boolean;
}

interface Word {
  readonly name: string;
  readonly description: string;
}

/** An option, with what it takes. */
export interface Choice {
  readonly flags: readonly string[];
  readonly description: string;
  readonly takesValue: boolean;
  readonly values: readonly string[];
  readonly takesFiles: boolean;
}
