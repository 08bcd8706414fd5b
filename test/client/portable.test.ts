import { existsSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { normalize } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadedBy, stripped } from '../support/loaded.ts';
import { startTestService, type TestService } from '../support/service.ts';

const executablePath = '/usr/bin/chromium';
// In CI a missing browser is a failure, not a reason to skip.
const missing = !existsSync(executablePath) && process.env['CI'] !== 'true';
if (missing) process.stdout.write('skipped: the client in a browser, for want of /usr/bin/chromium\n');

/** Guarantees that the entry for browsers and workers loads no module of Node, no package, and no global of Node. */
test('the portable entry needs no Node', () => {
  const loaded = loadedBy('src/client/index.ts');
  expect(loaded.size).toBeGreaterThan(15);
  expect(
    [...loaded.keys()].filter((path) => !/^src\/(?:client|crypto|core)\/[a-z/-]+\.ts$/.test(path)),
  ).toEqual([]);
  for (const [path, code] of loaded) {
    const text = code.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    expect([
      path,
      /\b(?:Buffer|process|require|global|setImmediate|__dirname)\b[.(]/.exec(text)?.[0],
    ]).toEqual([path, undefined]);
  }
  expect(loadedBy('src/client/node/index.ts').has('node:crypto')).toBe(true);
});

let service: TestService;
let server: Server;
let browser: Browser;
let origin: string;

/** The sources, a page, and the service, at one origin as behind a proxy. */
async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const { url = '', method = 'GET', headers } = incoming;
  if (url === '/')
    return void response.setHeader('content-type', 'text/html').end('<!doctype html><title>x</title>');
  if (url.endsWith('.ts')) {
    const code = url === '/worker.ts' ? worker : stripped(normalize(url.slice(1)));
    return void response.setHeader('content-type', 'text/javascript').end(code);
  }
  if (!/^\/(?:v1|readyz)\b/.test(url)) return void response.writeHead(404).end();
  const body = await buffer(incoming);
  const answer = await fetch(service.url + url, {
    method,
    headers: Object.fromEntries(
      ['authorization', 'content-type', 'x-request-id'].flatMap((name) =>
        headers[name] === undefined ? [] : [[name, String(headers[name])]],
      ),
    ),
    ...(body.length > 0 && { body }),
  });
  response
    .writeHead(answer.status, Object.fromEntries(answer.headers))
    .end(Buffer.from(await answer.arrayBuffer()));
}

beforeAll(async () => {
  if (missing) return;
  service = await startTestService();
  await service.call('POST', '/v1/keys', { name: 'payments' });
  server = createServer((incoming, response) => void serve(incoming, response)).listen(0, '127.0.0.1');
  browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run'],
  });
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  if (missing) return;
  await browser.close();
  server.closeAllConnections();
  server.close();
  await service.dispose();
});

/** What runs in the browser: the client by itself, and what it says. */
const work = `
async function work(url, token) {
  const { createClient, isStatheraError } = await import('/src/client/index.ts');
  const client = createClient({ url, credentials: () => token });
  const plaintext = crypto.getRandomValues(new Uint8Array(4000));
  const { ciphertext } = await client.encrypt({ key: 'payments', plaintext, context: { a: 'b' } });
  const opened = await client.decrypt({ ciphertext, context: { a: 'b' } });
  const code = (promise) => promise.then(() => 'ok', (error) => (isStatheraError(error) ? error.code : error.name));
  return [
    opened.plaintext.every((byte, at) => byte === plaintext[at]) && opened.plaintext.length === 4000,
    (await client.system.ready()).status,
    await code(client.decrypt({ ciphertext })),
    await code(client.random({ bytes: 1 }, { signal: AbortSignal.abort() })),
    await code(createClient({ url, credentials: 'wrong' }).random({ bytes: 1 })),
    await code(createClient({ url: url + '/elsewhere', credentials: token }).random({ bytes: 1 })),
  ];
}`;
const worker = `${work}
onmessage = ({ data: [url, token] }) => work(url, token).then(postMessage, (error) => postMessage(String(error)));`;

const said = [
  true,
  'ready',
  'envelope/decryption-failed',
  'AbortError',
  'access/unauthenticated',
  'client/not-stathera',
];

/** Guarantees that the client works in a page, as its sources are. */
test.skipIf(missing)('works in a page', async () => {
  const page = await browser.newPage();
  await page.goto(origin);
  const given = `${JSON.stringify(origin)}, ${JSON.stringify(service.token)}`;
  expect(await page.evaluate(`(() => { ${work}\n return work(${given}); })()`)).toEqual(said);
});

/** Guarantees that the client works in a worker, which has no window. */
test.skipIf(missing)('works in a worker', async () => {
  const page = await browser.newPage();
  await page.goto(origin);
  const result = await page.evaluate(`new Promise((resolve) => {
    const worker = new Worker('/worker.ts', { type: 'module' });
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => resolve(message);
    worker.postMessage([${JSON.stringify(origin)}, ${JSON.stringify(service.token)}]);
  })`);
  expect(result).toEqual(said);
});
