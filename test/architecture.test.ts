import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { cruise, type ICruiseOptions, type ICruiseResult, type IRuleSetType } from 'dependency-cruiser';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { labels } from '../src/crypto/labels.ts';

const root = dirname(import.meta.dirname);

interface Rules extends IRuleSetType {
  options: ICruiseOptions;
}
const { options, ...rules } = createRequire(import.meta.url)(join(root, '.dependency-cruiser.cjs')) as Rules;

/** The violated rules and where, of the tree `src` under `baseDir`. */
async function violations(baseDir: string): Promise<string[]> {
  const { tsConfig: _, ...cruiseOptions } = options as ICruiseOptions & { tsConfig: unknown };
  const { output } = await cruise(['src'], { ...cruiseOptions, baseDir, ruleSet: rules, validate: true });
  const { summary } = output as ICruiseResult;
  expect(summary.totalCruised).toBeGreaterThan(0);
  return summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`);
}

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'stathera-architecture-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A tree with `files` (path → text), for rules to be broken in. */
function plant(name: string, files: Record<string, string>): string {
  const tree = join(scratch, name.replaceAll(/[^a-z0-9]/g, '-'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), text);
  }
  return tree;
}

/** Guarantees that imports point down only, as .dependency-cruiser.cjs draws it. */
test('imports point down', async () => {
  expect(await violations(root)).toEqual([]);
});

/** Guarantees that the rules on imports see what breaks them: each forbidden arrow below is reported by its rule. */
test.each([
  ['core-imports-down', 'src/core/x.ts', 'src/crypto/y.ts'],
  ['crypto-imports-down', 'src/crypto/x.ts', 'src/store/y.ts'],
  ['hsm-imports-down', 'src/hsm/x.ts', 'src/keys/y.ts'],
  ['store-imports-down', 'src/store/x.ts', 'src/audit/y.ts'],
  ['audit-imports-down', 'src/audit/x.ts', 'src/access/y.ts'],
  ['access-imports-down', 'src/access/x.ts', 'src/keys/y.ts'],
  ['keys-imports-down', 'src/keys/x.ts', 'src/envelope/y.ts'],
  ['envelope-imports-down', 'src/envelope/x.ts', 'src/http/y.ts'],
  ['envelope-routes-import-down', 'src/envelope/routes.ts', 'src/rotation/y.ts'],
  ['http-imports-down', 'src/http/x.ts', 'src/keys/y.ts'],
  ['client-imports-down', 'src/client/x.ts', 'src/keys/y.ts'],
  ['adapters-are-wired-by-main', 'src/app.ts', 'src/store/sqlite.ts'],
  ['adapters-are-wired-by-main', 'src/keys/x.ts', 'src/hsm/pkcs11/y.ts'],
  ['operations-not-insides', 'src/compat/aws/x.ts', 'src/envelope/format.ts'],
  ['envelope-imports-down', 'src/envelope/format.ts', 'src/http/y.ts'],
  ['the-top-is-not-imported', 'src/http/x.ts', 'src/app.ts'],
  ['the-top-is-not-imported', 'src/audit/x.ts', 'src/config.ts'],
  ['main-is-not-imported', 'src/app.ts', 'src/main.ts'],
  ['settings-import-core-only', 'src/config.ts', 'src/store/y.ts'],
  ['production-stands-alone', 'src/keys/x.ts', 'test/support/y.ts'],
])('reports %s for %s → %s', async (rule, from, to) => {
  const up = '../'.repeat(from.split('/').length - 1);
  const tree = plant(`${rule} ${from}`, {
    [from]: `import type { Y } from '${up}${to}';\nexport const x: Y = 1;\n`,
    [to]: 'export type Y = number;\n',
  });
  expect(await violations(tree)).toContain(`${rule}: ${from} → ${to}`);
});

/** Guarantees that the client takes types of the service's schemas and nothing that would be bundled with it. */
test('reports values of the service in the client', async () => {
  const schemas = { 'src/keys/routes-schemas.ts': 'export const schema = 1;\n' };
  const found = (name: string, text: string) =>
    violations(plant(name, { ...schemas, 'src/client/x.ts': text }));
  const from = "from '../keys/routes-schemas.ts';\n";
  expect(await found('types', `import type { schema } ${from}export const x: typeof schema = 1;\n`)).toEqual(
    [],
  );
  expect(await found('values', `import { schema } ${from}export const x = schema;\n`)).toEqual([
    'client-takes-types-alone: src/client/x.ts → src/keys/routes-schemas.ts',
  ]);
});

/** Guarantees that two files importing each other, and input and output in pure code, are reported. */
test('reports cycles and impure imports', async () => {
  const tree = plant('cycle', {
    'src/crypto/a.ts': "import { b } from './b.ts';\nexport const a = (): number => b();\n",
    'src/crypto/b.ts': "import { a } from './a.ts';\nexport const b = (): number => a();\n",
    'src/core/files.ts': "import { readFileSync } from 'node:fs';\nexport const read = readFileSync;\n",
  });
  const found = await violations(tree);
  expect(found).toContain('no-cycles: src/crypto/a.ts → src/crypto/b.ts');
  expect(found).toContain('core-and-crypto-are-pure: src/core/files.ts → fs');
});

const vagueFolder = /^(?:utils?|helpers?|services?|models?|common|shared|misc|lib)$/;
const longestFile = 300;

/** What breaks the house rules in one source file of `src`. */
function houseRulesBrokenBy(path: string, text: string): string[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '$1');
  const broken: string[] = [];
  if (text.split('\n').length - 1 > longestFile) broken.push(`is longer than ${longestFile} lines`);
  if (path.split('/').some((part) => vagueFolder.test(part)))
    broken.push('lies in a folder named after nothing');
  if (/(?::|\bas|<)\s*any\b/.test(code)) broken.push('uses any');
  if (/@ts-(?:ignore|nocheck|expect-error)/.test(text)) broken.push('silences the type checker');
  if (/(?:eslint|oxlint)-disable|biome-ignore/.test(text)) broken.push('silences the linter');
  if (/\bconsole\./.test(code) && !path.startsWith('src/cli/')) broken.push('writes to the console');
  return broken.map((rule) => `${path} ${rule}`);
}

/** Guarantees the house rules over the sources: short files, no any, nothing silenced, no console. */
test('the sources keep the house rules', () => {
  const sources = globSync('src/**/*.ts', { cwd: root });
  expect(sources.length).toBeGreaterThan(10);
  expect(sources.flatMap((path) => houseRulesBrokenBy(path, readFileSync(join(root, path), 'utf8')))).toEqual(
    [],
  );
});

/** Guarantees that each house rule is seen when it is broken, and that comments may say "any". */
test('the house rules can fail', () => {
  const broken = (path: string, text: string) => houseRulesBrokenBy(path, text).length;
  expect(
    broken('src/keys/x.ts', '// for: any key\n/** of: any kind */\nconst company: string = "as many";\n'),
  ).toBe(0);
  expect(broken('src/keys/x.ts', 'let a: any;\n')).toBe(1);
  expect(broken('src/keys/x.ts', 'f(b as any);\n')).toBe(1);
  expect(broken('src/keys/x.ts', '// @ts-ignore\n')).toBe(1);
  expect(broken('src/keys/x.ts', '// oxlint-disable-next-line no-console\n')).toBe(1);
  expect(broken('src/keys/x.ts', 'console.log(1);\n')).toBe(1);
  expect(broken('src/cli/x.ts', 'console.log(1);\n')).toBe(0);
  expect(broken('src/keys/helpers/x.ts', '')).toBe(1);
  expect(broken('src/keys/x.ts', '\n'.repeat(longestFile + 1))).toBe(1);
});

/** The tests in `text` that do not say in a doc comment right above them what they guarantee. */
function unexplainedTests(text: string): string[] {
  const lines = text.split('\n');
  return lines.filter((line, index) => {
    if (!/^\s*(?:test|it)(?:\.\w+)*\(/.test(line)) return false;
    let start = index - 1;
    if (!lines[start]?.trimEnd().endsWith('*/')) return true;
    while (start > 0 && !lines[start]?.includes('/**')) start -= 1;
    return !/Guarantees/.test(lines.slice(start, index).join('\n'));
  });
}

/** Guarantees that every test says what it guarantees. */
test('every test states its guarantee', () => {
  const files = globSync('test/**/*.test.ts', { cwd: root });
  expect(files.length).toBeGreaterThan(0);
  expect(
    files.flatMap((path) =>
      unexplainedTests(readFileSync(join(root, path), 'utf8')).map((line) => `${path}: ${line.trim()}`),
    ),
  ).toEqual([]);
  expect(unexplainedTests("/** Checks. */\ntest('a', f);\n\ntest('b', f);\n")).toHaveLength(2);
  expect(unexplainedTests("/**\n * Guarantees order.\n */\ntest('a', f);\n")).toHaveLength(0);
});

/** Guarantees that no two purposes share a domain-separation label, and that each label has a version. */
test('labels are unique and versioned', () => {
  const all = Object.values(labels);
  expect(all.length).toBeGreaterThan(0);
  expect(new Set(all).size).toBe(all.length);
  for (const label of all) expect(label).toMatch(/^stathera\/[a-z0-9/-]+\/v[1-9]\d*$/);
});
