import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from './support.ts';

let folder: string;
const file = (shell: string) => join(folder, `stathera.${shell}`);
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'stathera-completion-'));
  writeFileSync(join(folder, 'a-file'), '');
  await Promise.all(
    ['bash', 'zsh', 'fish'].map(async (shell) => {
      writeFileSync(file(shell), (await run({}, 'completion', shell)).stdout);
    }),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What a user would be offered: words typed so far, the last one unfinished, and some of what completes it. */
const cases: [string[], string[], string[]][] = [
  [[''], ['encrypt', 'keys', 'completion'], ['create', '--key']],
  [['ke'], ['keys'], ['encrypt']],
  [
    ['keys', ''],
    ['create', 'list', 'rotate', 'set-version'],
    ['encrypt', 'keys'],
  ],
  [['--json', 'keys', 'cr'], ['create'], ['list']],
  [
    ['encrypt', '--'],
    ['--key', '--output', '--context', '--json'],
    ['--scope', 'keys'],
  ],
  [
    ['keys', 'create', '--algorithm', ''],
    ['aes-256-gcm', 'xaes-256-gcm'],
    ['--tag', 'create'],
  ],
  [['completion', ''], ['bash', 'zsh', 'fish'], ['keys']],
  [['encrypt', 'a-'], ['a-file'], ['keys']],
  [['encrypt', '--key', 'keys', '-o', 'a-'], ['a-file'], ['create']],
];

interface Shell {
  readonly name: string;
  readonly script: string;
}

const shells: Shell[] = [
  {
    name: 'bash',
    script: `source "$0"
      COMP_WORDS=(stathera "$@"); COMP_CWORD=$#; files=
      compopt() { compopt_files=1; }
      _stathera
      printf '%s\\n' "\${COMPREPLY[@]}"
      [[ -n $compopt_files ]] && compgen -f -- "\${@: -1}"; true`,
  },
  {
    name: 'zsh',
    script: `compdef() { :; }
      source "$0"
      _describe() { local array=\${@[-1]}; print -l -- \${\${(P)array}%%:*}; }
      compadd() { shift; print -l -- "$@"; }
      _files() { print -l -- *(N); }
      words=(stathera "$@"); CURRENT=$(( $# + 1 )); PREFIX=\${@[-1]}
      _stathera; true`,
  },
  {
    name: 'fish',
    script: `source $argv[1]; complete -C "stathera $argv[2..]" | string split -f1 \\t; true`,
  },
];

/** Guarantees that real shells offer commands, options, values and files where they may stand. */
test.for(shells)('$name completes', { timeout: 60_000 }, ({ name, script }, { skip }) => {
  skip(spawnSync(name, ['--version']).status !== 0, `needs ${name}`);
  for (const [words, offered, others] of cases) {
    const { status, stdout, stderr } = spawnSync(name, ['-c', script, file(name), ...words], {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: folder },
    });
    expect([words, status, stderr]).toEqual([words, 0, '']);
    // zsh leaves it to itself to drop what does not begin as the word does.
    const last = words.at(-1) ?? '';
    const found = stdout.split('\n').filter((word) => word !== '' && word.startsWith(last));
    expect([words, found]).toEqual([words, expect.arrayContaining(offered)]);
    for (const other of others) expect([words, found]).not.toEqual([words, expect.arrayContaining([other])]);
  }
});

/** Guarantees that another shell is refused by name. */
test('other shells', { timeout: 60_000 }, async () => {
  const { code, stderr } = await run({}, 'completion', 'tcsh');
  expect([code, stderr]).toEqual([2, expect.stringContaining('bash, zsh, fish')]);
});
