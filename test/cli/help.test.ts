import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { createProgram } from '../../src/cli/program.ts';
import { readDocument, tableRows } from '../docs/markdown.ts';

const program = createProgram({
  environment: {},
  adapters: () => Promise.reject(new Error('no adapters here')),
  client: () => Promise.reject(new Error('no client here')),
  exit: () => undefined,
});

/** Every command that does something, by its words. */
function leaves(command: Command, path: string): [string, Command][] {
  if (command.commands.length === 0) return [[path, command]];
  return command.commands.flatMap((each) => leaves(each, `${path} ${each.name()}`));
}

const commands = leaves(program, 'stathera');

/** What `--help` prints, examples included. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  return text;
}

/** Guarantees that each command's help explains all it takes and shows how it is used. */
test.each(commands)('%s explains itself', (path, command) => {
  expect(command.description()).not.toBe('');
  for (const option of command.options) {
    expect([option.flags, option.description]).toEqual([option.flags, expect.stringMatching(/\w{2}/)]);
    expect(option.long).toMatch(/^--[a-z-]+$/);
  }
  for (const argument of command.registeredArguments)
    expect([argument.name(), argument.description]).toEqual([
      argument.name(),
      expect.stringMatching(/\w{2}/),
    ]);
  expect(helpOf(command)).toMatch(new RegExp(`^Examples:\n(?:  \\$ .*\n)*?  \\$ .*${path}`, 'm'));
});

/** Guarantees that the program's help has its variables and exit codes. */
test('the program explains what holds for all', () => {
  const help = helpOf(program);
  for (const name of ['STATHERA_URL', 'STATHERA_TOKEN_FILE', 'STATHERA_DATA_DIR', 'NODE_EXTRA_CA_CERTS'])
    expect(help).toContain(`  ${name} `);
  for (const code of [0, 1, 2, 130, 141]) expect(help).toMatch(new RegExp(`^  ${code} `, 'm'));
});

/** Guarantees that the page of commands lists each with its arguments and what it does, as the program has them. */
test('the table of commands is the program’s', () => {
  expect(commands.length).toBeGreaterThan(20);
  const rows = tableRows(readDocument('docs/cli.md'), 'command');
  const expected = commands.map(([path, command]) => [
    `${path} ${command.usage().replace(/^\[options\] ?/, '')}`.trim(),
    command.summary() || command.description(),
  ]);
  expect(rows).toEqual(expected);
});
