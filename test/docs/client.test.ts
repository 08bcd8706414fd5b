import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { reuseDefaults } from '../../src/client/data-keys.ts';
import { clientErrorCodes } from '../../src/client/errors.ts';
import { operations } from '../../src/client/operations.ts';
import { projectRoot } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { fencedBlocks, matches, readDocument, tableRows } from './markdown.ts';

const page = readDocument('docs/client.md');
const entry = '../../src/client/node/index.ts';
// Inside the project, so that it finds the project's packages and types.
const folder = join(projectRoot, `test/docs/client-example-${process.pid}`);

let service: TestService;
beforeAll(async () => {
  service = await startTestService();
  mkdirSync(folder);
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await service.dispose();
});

/** Guarantees that a reader can run the page's examples as one program, and that each prints what the page shows. */
test('the examples of docs/client.md run, with right types', async () => {
  const blocks = fencedBlocks(page);
  const mark = `--- end of example ${process.pid} ---`;
  const examples = blocks.flatMap((block, index) => {
    const next = blocks[index + 1];
    return block.language === 'ts'
      ? [{ ...block, expected: next?.language === 'text' ? next.code : '' }]
      : [];
  });
  expect(examples.length).toBeGreaterThan(5);
  const program = examples.map(({ code }) => `${code}\nconsole.log('${mark}');`).join('\n');
  const file = join(folder, 'program.ts');
  const aggregate = "'../../../src/client/node/aggregate/index.ts'";
  const local = program
    .replaceAll("'stathera-kms/client'", `'../${entry}'`)
    .replaceAll("'stathera-kms/client/aggregate'", aggregate);
  writeFileSync(file, `${local}\nexport {};\n`);
  const env = {
    ...process.env,
    NODE_NO_WARNINGS: '1',
    STATHERA_URL: service.url,
    STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token'),
  };
  const { stdout } = await promisify(execFile)(process.execPath, [file], { env });
  const printed = stdout.split(`${mark}\n`);
  for (const [index, { line, expected }] of examples.entries()) {
    expect(matches(printed[index] ?? '', expected), `line ${line} printed\n${printed[index]}`).toBe(true);
  }
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ extends: '../../../tsconfig.json', include: [], files: ['program.ts'] }),
  );
  const checked = spawnSync(join(projectRoot, 'node_modules/.bin/tsc'), ['-p', folder], {
    env: { ...process.env, PATH: `${join(projectRoot, 'node_modules/.bin')}:${process.env['PATH']}` },
    encoding: 'utf8',
  });
  expect([checked.status, checked.stdout]).toEqual([0, '']);
});

/** Guarantees that the page explains each of the client's own codes, and no other. */
test('the table of codes is the client’s', () => {
  expect(tableRows(page, 'code').map(([code]) => code)).toEqual([...clientErrorCodes]);
});

/** Guarantees that the page names each operation, and no other. */
test('the table of operations is the client’s', () => {
  const named = tableRows(page, 'what for').flatMap(([, cell = '']) => cell.replaceAll('`', '').split(', '));
  expect(named.toSorted()).toEqual(Object.keys(operations).toSorted());
});

/** Guarantees that the page names each limit of using data keys again, with the number it has unless told otherwise. */
test('the table of reuse is the client’s', () => {
  const rows = tableRows(page, 'reuse').map(([name, value]) => [name, value]);
  const texts = { bytes: '256 MiB', messages: reuseDefaults.messages.toLocaleString('en') };
  expect(rows).toEqual(
    Object.entries({ ...reuseDefaults, ...texts }).map(([name, value]) => [name, String(value)]),
  );
});
