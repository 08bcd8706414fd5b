import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { errorCodes } from '../../src/core/errors.ts';
import { startDemo } from './demo.ts';

const executablePath = '/usr/bin/chromium';
// In CI a missing browser is a failure, not a reason to skip.
const missing = !existsSync(executablePath) && process.env['CI'] !== 'true';
if (missing) process.stdout.write('skipped: the pages in a browser, for want of /usr/bin/chromium\n');

const quiet = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

let browser: Browser;
beforeAll(async () => {
  if (!missing) browser = await chromium.launch({ executablePath, args: ['--no-sandbox', ...quiet] });
});
afterAll(async () => {
  await browser?.close();
});

/** Opens `path` and gives what the browser complained about and where it went. */
async function open(url: string, path: string) {
  const page = await browser.newPage();
  const complaints: string[] = [];
  const elsewhere: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${url}/`) && !request.url().startsWith('data:'))
      elsewhere.push(request.url());
  });
  await page.addInitScript({
    content: `cspViolations = [];
      addEventListener('securitypolicyviolation', (event) => {
        cspViolations.push(event.violatedDirective + ' ' + event.blockedURI);
      });`,
  });
  await page.goto(`${url}${path}`);
  const violations = () => page.evaluate<string[]>('cspViolations');
  return { page, complaints, elsewhere, violations };
}

/** Guarantees that the page shows and unfolds the operations under its policy, without a request to another host. */
test.skipIf(missing)('shows the operations in a browser', async () => {
  const { url } = await startDemo();
  const { page, complaints, elsewhere, violations } = await open(url, '/docs');
  await page.waitForSelector('.opblock');
  expect(await page.locator('.opblock').count()).toBe(9);
  await page.locator('.opblock-summary-control', { hasText: '/v1/demo/{key}/seal' }).click();
  await page.waitForSelector('.opblock.is-open .opblock-body');
  expect(page.url()).toContain('#/demo/demo.seal');
  await page.locator('.opblock.is-open .try-out__btn').click();
  await page.waitForSelector('.opblock.is-open .execute');
  if (process.env['STATHERA_TEST_SCREENSHOT'] !== undefined) {
    await page.screenshot({ path: process.env['STATHERA_TEST_SCREENSHOT'], fullPage: true });
  }
  expect(await violations()).toEqual([]);
  expect(complaints).toEqual([]);
  expect(elsewhere).toEqual([]);
});

/** Guarantees that a link to an operation opens it, and that a call tried on the page reaches the service. */
test.skipIf(missing)('follows deep links and tries calls', async () => {
  const { url } = await startDemo();
  const { page, violations, elsewhere } = await open(url, '/docs#/system/system.health');
  await page.waitForSelector('.opblock.is-open');
  await page.locator('.try-out__btn').click();
  await page.locator('.execute').click();
  await page.waitForSelector('.live-responses-table .response-col_status');
  expect(await page.locator('.live-responses-table .response-col_status').last().textContent()).toContain(
    '200',
  );
  expect(await violations()).toEqual([]);
  expect(elsewhere).toEqual([]);
});

/** Guarantees that every problem type leads to its entry on the page of problems. */
test.skipIf(missing)('explains the problems in a browser', async () => {
  const { url } = await startDemo();
  const { page, complaints, violations, elsewhere } = await open(url, '/docs/problems#key/not-found');
  expect(await page.locator('dt:target').textContent()).toContain('No such key');
  expect(await page.locator('dt').count()).toBe(errorCodes.length);
  expect([...(await violations()), ...complaints, ...elsewhere]).toEqual([]);
});

/** Guarantees the policy of the pages: nothing inline, nothing from elsewhere, nobody frames them. */
test('serves its pages under a strict policy', async () => {
  const { url } = await startDemo();
  for (const path of ['/docs', '/docs/problems']) {
    const response = await fetch(`${url}${path}`);
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    const html = await response.text();
    expect(html).not.toMatch(/<script(?! src="\/docs\/)|<style|style=|\son\w+=|https?:/);
    for (const code of path === '/docs' ? [] : errorCodes) expect(html).toContain(`id="${code}"`);
  }
  for (const [name, type] of [
    ['swagger-ui-bundle.js', 'text/javascript'],
    ['swagger-ui.css', 'text/css'],
    ['start.js', 'text/javascript'],
    ['pages.css', 'text/css'],
  ]) {
    const response = await fetch(`${url}/docs/${name}`);
    expect([response.status, response.headers.get('content-type')]).toEqual([200, `${type}; charset=utf-8`]);
    await response.arrayBuffer();
  }
  expect((await fetch(`${url}/docs/index.html`)).status).toBe(404);
  expect((await fetch(`${url}/docs/..%2f..%2fpackage.json`)).status).toBe(404);
});
