import { runMain } from '../support/data.ts';

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as JSON. */
  json(): unknown;
}

/** One command as a user's shell runs it. */
export async function run(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Run> {
  const ended = await runMain(args, env, { allowFailure: true });
  return { ...ended, json: (): unknown => JSON.parse(ended.stdout) };
}
