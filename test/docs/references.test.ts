import { globSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '../support/data.ts';
import { anchors, documents, fencedBlocks, isThere, prose, readDocument } from './markdown.ts';

/** What is wrong with the links of a page. */
function brokenLinks(page: string, text: string): string[] {
  return [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
    if (/^(?:https?|mailto):/.test(target)) return [];
    const [file = '', anchor] = target.split('#');
    const path = file === '' ? page : normalize(join(dirname(page), file));
    if (path !== page && !isThere(path)) return [`${page}: ${target} is not there`];
    if (anchor === undefined || !path.endsWith('.md')) return [];
    const own = path === page ? text : readDocument(path);
    return anchors(own).has(anchor) ? [] : [`${page}: ${target} has no such heading`];
  });
}

const folders = /^(?:src|test|bench|docs|softhsm|\.ci)\//;

/** Paths a page names in backquotes that are not there: from the root, from `src`, or a bare name below `src`. */
function missingPaths(page: string, text: string): string[] {
  const quoted = [...prose(text).matchAll(/`([^`\s]+)`/g)].map(([, path = '']) => path);
  return quoted
    .filter((path) => folders.test(path) || /^[a-z0-9-]+(?:\/[a-z0-9-]+)*\.(?:ts|cjs)$/.test(path))
    .filter((path) => !/[*…{}<>]/.test(path) && !isThere(path))
    .filter(
      (path) =>
        globSync(path.includes('/') ? `src/${path}` : `src/**/${path}`, { cwd: projectRoot }).length === 0,
    )
    .map((path) => `${page}: ${path} is not there`);
}

const npmCommands = new Set(['ci', 'install', 'pack', 'run']);

/** Scripts a page tells the reader to run that package.json does not have. */
function missingScripts(page: string, text: string): string[] {
  const { scripts } = JSON.parse(readDocument('package.json')) as { scripts: Record<string, string> };
  const run = [...text.matchAll(/\bnpm run (?:--\S+ )*([\w:-]+)/g)].map(([, name = '']) => name);
  const others = [...text.matchAll(/(?:`|^\$ |^)npm ([\w:-]+)/gm)].map(([, name = '']) => name);
  const unknown = others.filter((name) => !npmCommands.has(name));
  return [...run, ...unknown].filter((name) => !(name in scripts)).map((name) => `${page}: npm run ${name}`);
}

const pages = documents();

/** Guarantees that the documentation has its pages, so that the tests below look at something. */
test('the pages are there', () => {
  expect(pages).toEqual(
    expect.arrayContaining([
      'README.md',
      'SECURITY.md',
      'CHANGELOG.md',
      ...[
        'api',
        'architecture',
        'cli',
        'configuration',
        'container',
        'dependencies',
        'extend',
        'operate',
        'performance',
      ].map((name) => `docs/${name}.md`),
    ]),
  );
  expect(prose(readDocument('README.md')).match(/\]\(/g)?.length).toBeGreaterThan(5);
});

/** Guarantees that a reader who follows a link, opens a named file or runs a named script finds it. */
test.each(pages)('%s leads nowhere else than to what is there', (page) => {
  const text = readDocument(page);
  expect(brokenLinks(page, text)).toEqual([]);
  expect(missingPaths(page, text)).toEqual([]);
  expect(missingScripts(page, text)).toEqual([]);
});

/** Guarantees that each of those checks can fail. */
test('what is not there is noticed', () => {
  expect(
    brokenLinks('README.md', '[a](docs/none.md) [b](#none) [c](LICENSE) [d](https://a.example)'),
  ).toHaveLength(2);
  expect(brokenLinks('docs/a.md', '# A title\n[a](#a-title) [b](../README.md#start)')).toEqual([]);
  expect(
    missingPaths('README.md', '`src/none.ts` and `src/main.ts` and `keys/keys.ts` and `routes.ts`'),
  ).toHaveLength(1);
  expect(
    missingScripts('README.md', '`npm run none`, `npm run --silent stathera -- x`, `npm test`, `npm begin`'),
  ).toHaveLength(2);
});

/** Guarantees that the pages can be read anywhere: no path of one machine, no tab, lines that fit. */
test.each(pages)('%s is plain', (page) => {
  const text = readDocument(page);
  expect(text).not.toMatch(/\/(?:work|home|root|Users)\//);
  expect(text).not.toContain('\t');
  const long = prose(text)
    .split('\n')
    .filter((line) => line.length > 120 && !line.startsWith('|'));
  expect(long).toEqual([]);
  expect(fencedBlocks(text).filter(({ language }) => language === '')).toEqual([]);
});
