import type { Adapters } from '../adapters.ts';
import type { Client } from '../client/index.ts';
import type { NodeClientOptions } from '../client/node/index.ts';
import type { Environment } from '../config.ts';

/**
 * What every command has: its environment, what the service runs on, a client of the service that the environment
 * points at, and a way to say how it ended. Adapters and client are loaded when a command asks for them: starting is
 * most of what a short command costs.
 */
export interface Surroundings {
  readonly environment: Environment;
  adapters(): Promise<Adapters>;
  client(options?: Partial<NodeClientOptions>): Promise<Client>;
  /** Sets the process's exit code; 0 unless a command says otherwise. */
  exit(code: number): void;
}
