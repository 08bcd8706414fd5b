import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fencedBlocks, readDocument } from '../docs/markdown.ts';
import { bootstrapToken, projectRoot } from '../support/data.ts';
import { makeProject, manifest, type Project } from './project.ts';
import { serveSameOrigin } from './same-origin.ts';

let project: Project;
beforeAll(async () => {
  project = await makeProject();
}, 300_000);
afterAll(() => project?.remove());

const stathera = () => join(project.path, 'node_modules/.bin/stathera');

/** The installed command's service. */
async function startInstalled() {
  const service = spawn(stathera(), ['serve'], {
    cwd: project.path,
    env: project.env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let output = '';
  const ended = once(service, 'close').then(([code]) => code as number | null);
  const url = await new Promise<string>((resolve, reject) => {
    void ended.then(() => reject(new Error(`ended before it listened: ${output}`)));
    service.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      const match = /listening on (http:\S+)/.exec(output);
      if (match?.[1]) resolve(match[1]);
    });
  });
  return { url, ended, kill: (signal: NodeJS.Signals) => service.kill(signal) };
}

/** The first `ts` block of the README, and what it prints. */
function exampleOfReadme(): { code: string; expected: string } {
  const blocks = fencedBlocks(readDocument('README.md'));
  const at = blocks.findIndex(({ language }) => language === 'ts');
  const [example, printed] = blocks.slice(at, at + 2);
  if (example === undefined || printed?.language !== 'text') throw new Error('the README has no example');
  return { code: example.code, expected: printed.code };
}

/** Guarantees that the package holds what runs and its papers, not sources, tests or tools. */
test('holds only what is needed', () => {
  const packed = readdirSync(project.installed).toSorted();
  expect(packed).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'package.json']);
});

/** Guarantees that the installed command runs, with the version of the package. */
test('the command tells its version', async () => {
  const { stdout } = await project.run(stathera(), ['--version']);
  expect(stdout.trim()).toBe(manifest.version);
});

/**
 * Guarantees that the package works without the sources: it makes a token and serves on it, the README's example runs
 * as a reader's program against it, in TypeScript and JavaScript, and it ends when told.
 */
test('serves the example of the README', { timeout: 120_000 }, async () => {
  await project.run(stathera(), ['init']);
  const service = await startInstalled();
  try {
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
    const { code, expected } = exampleOfReadme();
    const local = code
      .replace("process.env['STATHERA_URL'] ?? 'http://127.0.0.1:8300'", `'${service.url}'`)
      .replaceAll("'documents'", "'papers'");
    expect(local).toContain(service.url);
    project.write('example.ts', code);
    project.write('example.js', local);
    Object.assign(project.env, { STATHERA_URL: service.url });
    for (const file of ['example.ts', 'example.js']) {
      expect([file, (await project.run(process.execPath, [file])).stdout.trim()]).toEqual([file, expected]);
    }
    service.kill('SIGTERM');
    expect(await service.ended).toBe(0);
  } finally {
    service.kill('SIGKILL');
  }
});

const strict = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
};

const onNode = { ...strict, target: 'es2024', module: 'nodenext', types: ['node'] };
const inBrowser = {
  ...strict,
  ...{ target: 'es2022', module: 'esnext', moduleResolution: 'bundler', types: [], lib: ['es2022', 'dom'] },
};

const browserProgram = `
import { createClient, createLocalEncryption, isStatheraError } from 'stathera-kms/client';
export async function roundtrip(url: string, token: string): Promise<string> {
  const client = createClient({ url, credentials: token });
  const { id } = await client.createKey({ name: 'browser' });
  const local = createLocalEncryption({ client, key: id });
  const context = { page: 'a' };
  const { ciphertext } = await client.encrypt({ key: id, plaintext: new Uint8Array([1, 2, 3]), context });
  const opened: Uint8Array = (await client.decrypt({ ciphertext, context })).plaintext;
  const here: Uint8Array = await local.decrypt(await local.encrypt(opened, { context }), { context });
  const refused = await client.getKey({ key: 'nowhere' }).catch((error: unknown) => error);
  return [here.join(), isStatheraError(refused) ? refused.code : 'no error of ours'].join(' ');
}
`;

/** Guarantees that strict programs compile against the installed types, for Node and for browsers without Node's types. */
test('the types hold for Node and for browsers', { timeout: 120_000 }, async () => {
  project.write('node.ts', `${exampleOfReadme().code}\nexport {};\n`);
  expect(await project.typeCheck(onNode, ['node.ts'])).toBe('');
  project.write('browser.ts', browserProgram);
  expect(await project.typeCheck(inBrowser, ['browser.ts'])).toBe('');
  // What only one of the two has, and a wrong member, are refused: the types are there.
  project.write(
    'wrong.ts',
    `import { tokenFromFile } from 'stathera-kms/client';\nexport default tokenFromFile;`,
  );
  expect(await project.typeCheck(inBrowser, ['wrong.ts'])).toContain("no exported member 'tokenFromFile'");
  project.write('wrong.ts', browserProgram.replace('plaintext: new', 'plain: new'));
  expect(await project.typeCheck(inBrowser, ['wrong.ts'])).toContain("'plain'");
});

/** Guarantees that the installed types, which need no package to be compiled, are those of the source. */
test('the types are the source’s, written out', { timeout: 120_000 }, async () => {
  const entries = manifest.exports['./client'];
  expect(graphOf(join(project.installed, entries.default.types)).others).toEqual([]);
  const { others } = graphOf(join(project.installed, entries.node.types));
  expect(others.filter((specifier) => !specifier.includes(': node:'))).toEqual([]);
  const source = join(projectRoot, 'src/client/types.ts');
  const lines = [
    `import type { Operations as Source } from '${source}';`,
    "import type { Operations as Installed } from './node_modules/stathera-kms/dist/client/types.d.ts';",
    'export const one = (source: Source): Installed => source;',
    'export const other = (installed: Installed): Source => installed;',
  ];
  const options = { ...onNode, skipLibCheck: true, allowImportingTsExtensions: true };
  project.write('same.ts', lines.join('\n'));
  expect(await project.typeCheck(options, ['same.ts'])).toBe('');
  project.write(
    'same.ts',
    lines.join('\n').replace('Installed => source', 'Installed & { more: 1 } => source'),
  );
  expect(await project.typeCheck(options, ['same.ts'])).toContain('more');
});

/** The files that are loaded from `entry`, and what else they import. */
function graphOf(entry: string): { files: Map<string, string>; others: string[] } {
  const files = new Map<string, string>();
  const others: string[] = [];
  const waiting = [entry];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (files.has(file)) continue;
    const code = readFileSync(file, 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
    files.set(file, code);
    for (const [, specifier = ''] of code.matchAll(/(?<![\w/'"])(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g)) {
      const path = join(dirname(file), specifier);
      if (specifier.startsWith('.'))
        waiting.push(file.endsWith('.d.ts') ? path.replace(/\.ts$/, '.d.ts') : path);
      else others.push(`${relative(project.installed, file)}: ${specifier}`);
    }
  }
  return { files, others };
}

/** Guarantees that a browser's build imports nothing but files of its own, and names nothing that only Node has. */
test('the build for browsers is free of Node', () => {
  const entries = manifest.exports['./client'];
  const { files, others } = graphOf(join(project.installed, entries.default.default));
  expect(files.size).toBeGreaterThan(5);
  expect(others).toEqual([]);
  for (const [file, code] of files) {
    expect([file, /\b(?:Buffer|process|require|__dirname|setImmediate)\b[.(]/.exec(code)?.[0]]).toEqual([
      file,
      undefined,
    ]);
  }
  expect(graphOf(join(project.installed, entries.node.default)).others.join()).toContain('node:');
});

/** Guarantees that what contributes in a browser needs SEAL and nothing else, and that its types need no package at all. */
test('the build that contributes needs SEAL alone', () => {
  const entries = manifest.exports['./client/aggregate'];
  const code = graphOf(join(project.installed, entries.default.default));
  expect(code.others).toEqual([]);
  const worker = join(project.installed, 'dist/client/aggregate/web-encrypt-worker.js');
  expect(graphOf(worker).others.map((other) => other.replace(/.*: /, ''))).toEqual(['node-seal']);
  for (const [file, text] of [...code.files, ...graphOf(worker).files]) {
    expect([file, /\b(?:Buffer|process|require|__dirname|setImmediate)\b[.(]/.exec(text)?.[0]]).toEqual([
      file,
      undefined,
    ]);
  }
  for (const { types } of [entries.default, entries.node]) {
    const { others } = graphOf(join(project.installed, types));
    expect(others.filter((specifier) => !specifier.includes(': node:'))).toEqual([]);
  }
});

const executablePath = '/usr/bin/chromium';
// In CI a missing browser is a failure, not a reason to skip.
const missing = !existsSync(executablePath) && process.env['CI'] !== 'true';
if (missing) process.stdout.write('skipped: the client in a browser, for want of /usr/bin/chromium\n');

/** Guarantees that the installed build works in a browser against a service of the same origin. */
test.skipIf(missing)('the client works in a browser', { timeout: 120_000 }, async () => {
  const service = await startInstalled();
  const origin = await serveSameOrigin(project.installed, service.url);
  let browser: Browser | undefined;
  try {
    browser = await chromium.launch({
      executablePath,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic'],
    });
    const page = await browser.newPage();
    await page.goto(`${origin.url}/page`);
    const program = stripTypeScriptTypes(browserProgram).replace(
      "'stathera-kms/client'",
      `'/package/${manifest.exports['./client'].default.default}'`,
    );
    const token = await bootstrapToken(join(project.path, 'data'));
    origin.program = program;
    const result = await page.evaluate<string>(
      `import('/program.js').then(({ roundtrip }) => roundtrip(location.origin, ${JSON.stringify(token)}))`,
    );
    expect(result).toBe('1,2,3 key/not-found');
  } finally {
    await browser?.close();
    origin.close();
    service.kill('SIGKILL');
  }
});
