import type { Adapters } from '../adapters.ts';
import type { Environment } from '../config.ts';

/** What every command has: its environment, what the service runs on, and a way to say how it ended. */
export interface Surroundings {
  readonly environment: Environment;
  readonly adapters: Adapters;
  /** Sets the process's exit code; 0 unless a command says otherwise. */
  exit(code: number): void;
}
