import { type Command, InvalidArgumentError } from 'commander';

/** Names and values of an option that may be given more than once: `--context name=value`. */
export type Pairs = Readonly<Record<string, string>>;

/** Of a value, what is after its first `=` may hold more of them. @throws InvalidArgumentError */
export function collectPair(text: string, pairs: Pairs = {}): Pairs {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('must be NAME=VALUE');
  const name = text.slice(0, at);
  if (Object.hasOwn(pairs, name)) throw new InvalidArgumentError(`gives ${name} twice`);
  // Not an object literal's member: a pair may be called __proto__.
  return Object.fromEntries([...Object.entries(pairs), [name, text.slice(at + 1)]]);
}

export function collectText(text: string, texts: readonly string[] = []): string[] {
  return [...texts, text];
}

/** @throws InvalidArgumentError */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    if (/^\d{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max) return Number(text);
    throw new InvalidArgumentError(`must be a whole number from ${min} to ${max}`);
  };
}

/** Ends a command's help with commands to try. */
export function withExamples(command: Command, ...examples: readonly string[]): Command {
  const lines = examples.map((example) => `  $ ${example}\n`).join('');
  return command.addHelpText('after', `\nExamples:\n${lines}`);
}
