import type { Command } from 'commander';

/** What is to be read is stdin. */
export function isPipe(file: string | undefined): file is '-' | undefined {
  return file === undefined || file === '-';
}

/** The name that a file had before `suffix` was added to it. */
export function nameWithin(command: Command, file: string, suffix: string): string {
  const bare = file.length === suffix.length || file.endsWith(`/${suffix}`);
  if (file.endsWith(suffix) && !bare) return file.slice(0, -suffix.length);
  return command.error(`error: ${file} does not end with ${suffix}: say with -o where the plaintext goes`);
}
