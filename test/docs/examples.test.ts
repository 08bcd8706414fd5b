import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { projectRoot } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Block, fencedBlocks, matches, readDocument, tableRows } from './markdown.ts';

let service: TestService;
let home: string;

beforeAll(async () => {
  service = await startTestService();
  home = mkdtempSync(join(tmpdir(), 'stathera-docs-'));
});
afterAll(async () => {
  await service?.dispose();
  if (home) rmSync(home, { recursive: true, force: true });
});

/** What a reader needs to follow the pages. A machine without it cannot run the examples: the report says skipped. */
const programs = ['bash', 'curl', 'openssl'];
const canFollow = programs.every(
  (name) => spawnSync(name, ['--help'], { stdio: 'ignore' }).error === undefined,
);

interface Example {
  readonly code: string;
  readonly line: number;
  /** What the `text` block right after it shows; undefined when none follows. */
  readonly expected: string | undefined;
}

/** The `sh` blocks of a page; `console` blocks are only to be read. */
function examplesOf(page: string): Example[] {
  const blocks = fencedBlocks(readDocument(page));
  return blocks.flatMap((block: Block, index) => {
    if (block.language !== 'sh') return [];
    const next = blocks[index + 1];
    return [{ ...block, expected: next?.language === 'text' ? next.code : undefined }];
  });
}

/** What the examples of the other pages rely on: the functions that the README begins with. */
function functionsOfReadme(): string {
  return examplesOf('README.md')[0]?.code ?? '';
}

/** Runs the examples in one shell, as a reader pastes them. @returns what each printed */
async function runExamples(examples: readonly Example[]): Promise<string[]> {
  const mark = `--- end of example ${process.pid} ---`;
  const script = [
    'exec 2>&1; set -euo pipefail',
    functionsOfReadme(),
    ...examples.flatMap(({ code }) => [code, `echo '${mark}'`]),
  ].join('\n');
  const shell = spawn('bash', ['-c', script], {
    cwd: projectRoot,
    // One stream: what is printed stands in the order in which it was printed.
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
      HOME: home,
      NODE_NO_WARNINGS: '1',
      STATHERA_URL: service.url,
      STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token'),
      STATHERA_DATA_DIR: service.dataDir,
    },
  });
  let output = '';
  shell.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise((resolve) => shell.once('close', resolve));
  expect(code, output).toBe(0);
  return output.split(`${mark}\n`).slice(0, -1);
}

/** Guarantees that a reader can paste the examples in order, and that each prints what the page shows. */
test.runIf(canFollow).each(['README.md', 'docs/api.md'])(
  'the examples of %s run',
  { timeout: 60_000 },
  async (page) => {
    const examples = examplesOf(page);
    expect(examples.length).toBeGreaterThan(1);
    const printed = await runExamples(examples);
    expect(printed).toHaveLength(examples.length);
    expect(examples.filter(({ expected }) => expected !== undefined).length).toBeGreaterThan(0);
    for (const [index, { line, expected }] of examples.entries()) {
      if (expected === undefined) continue;
      const text = printed[index] ?? '';
      expect(matches(text, expected), `${page} line ${line} printed\n${text}\ninstead of\n${expected}`).toBe(
        true,
      );
    }
  },
);

/** Guarantees that the comparison of the examples can fail. */
test('another answer is noticed', () => {
  expect(matches('{"id":"1","name":"a"}\n', '{"id":"…","name":"a"}')).toBe(true);
  expect(matches('{"id":"1","name":"b"}\n', '{"id":"…","name":"a"}')).toBe(false);
  expect(matches('ok\nmore', 'ok')).toBe(false);
});

/** Guarantees that each measurement of the running service, and no other, is explained to its operators. */
test('the table of measurements is the service’s', async () => {
  const { text } = await service.call('GET', '/metrics');
  const given = [...text.matchAll(/^# HELP (\S+)/gm)].map(([, name]) => name);
  expect(given.length).toBeGreaterThan(10);
  const rows = tableRows(readDocument('docs/operate.md'), 'measurement');
  const explained = rows.flatMap(([names = '']) => names.match(/[a-z][a-z0-9_]+/g) ?? []);
  expect(new Set(explained)).toEqual(new Set(given));
  expect(explained).toHaveLength(given.length);
});

/** Guarantees that the pages beside the interface answer as the page says: who needs a token, and who does not. */
test('the table of pages is the service’s', async () => {
  const rows = tableRows(readDocument('docs/api.md'), 'page');
  const pages = rows.flatMap(([cell = '', says = '']) =>
    cell.split(', ').map((page) => ({ path: page.replaceAll('`', '').replace('GET ', ''), says })),
  );
  expect(pages.length).toBeGreaterThan(5);
  for (const { path, says } of pages) {
    const open = await service.call('GET', path, undefined, { token: null });
    expect(open.status, path).toBe(says.includes('needs a token') ? 401 : 200);
    expect((await service.call('GET', path)).status, path).toBe(200);
  }
});

/** Guarantees that the threat model names each table with and without a MAC as the database has them. */
test('the lists of authenticated tables are the database’s', () => {
  const text = readDocument('SECURITY.md').replaceAll(/\n +/g, ' ');
  const listed = (start: string) =>
    new Set(
      text
        .split('\n\n')
        .flatMap((paragraph) => paragraph.split('\n- '))
        .find((part) => part.includes(start))
        ?.replaceAll('\n', ' ')
        .split('carry an HMAC')[0]
        ?.match(/`[a-z_]+`/g) ?? [],
    );
  const withMac = listed('**Whoever can write the database**');
  const without = listed('**Tables without HMAC**');
  const database = new Database(join(service.dataDir, 'stathera.db'), { readonly: true });
  try {
    const tables = database
      .prepare("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
      .pluck()
      .all() as string[];
    expect(tables.length).toBeGreaterThan(10);
    for (const table of tables) {
      const columns = database
        .prepare('select name from pragma_table_info(?)')
        .pluck()
        .all(table) as string[];
      const [right, wrong] = columns.includes('mac') ? [withMac, without] : [without, withMac];
      expect(right, table).toContain(`\`${table}\``);
      expect(wrong, table).not.toContain(`\`${table}\``);
    }
  } finally {
    database.close();
  }
});
