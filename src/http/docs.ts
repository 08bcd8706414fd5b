import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { errorCodes } from '../core/errors.ts';
import type { Answer } from './exchange.ts';
import { problemKinds } from './problem.ts';
import type { SystemPage } from './system.ts';

/**
 * Scripts, styles, pictures and requests from our own port only; data: for the pictures inside the style sheet
 * and the page. Swagger UI sets styles through the DOM, which needs no 'unsafe-inline'.
 */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const pageHeaders = {
  'Content-Security-Policy': contentSecurityPolicy,
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
};

const assetHeaders = { 'Cache-Control': 'public, max-age=3600' };

/**
 * The interface's description for machines and people, without any call to another host.
 * @param openApi called once, when the document is first asked for
 */
export function createDocsPages(openApi: () => object): SystemPage[] {
  const document = once(async () => JSON.stringify(openApi()));
  return [
    page('/openapi.json', 'system.openapi', async () => ({
      status: 200,
      type: 'application/json',
      body: await document(),
    })),
    page('/docs', 'system.docs', async () => html(docsPage)),
    page('/docs/problems', 'system.docs.problems', async () => html(problemsPage)),
    page('/docs/start.js', 'system.docs.start', async () => asset('text/javascript', startScript)),
    page('/docs/pages.css', 'system.docs.style', async () => asset('text/css', styleSheet)),
    packaged('swagger-ui-bundle.js', 'text/javascript'),
    packaged('swagger-ui.css', 'text/css'),
  ];
}

function page(path: string, operationId: string, serve: SystemPage['serve']): SystemPage {
  return { path, operationId, counted: true, serve };
}

/** A file of the installed swagger-ui-dist, read when it is first asked for. */
function packaged(name: string, type: string): SystemPage {
  const content = once(async () => {
    const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
    return await readFile(join(folder, name));
  });
  return page(`/docs/${name}`, `system.docs.${name.slice(0, name.indexOf('.'))}`, async () =>
    asset(type, await content()),
  );
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

function html(body: string): Answer {
  return { status: 200, type: 'text/html; charset=utf-8', body, headers: pageHeaders };
}

function asset(type: string, body: string | Buffer<ArrayBuffer>): Answer {
  return { status: 200, type: `${type}; charset=utf-8`, body, headers: assetHeaders };
}

function pageOf(title: string, head: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/docs/pages.css">${head}</head>
<body>${body}</body>
</html>
`;
}

const docsPage = pageOf(
  'Stathera KMS',
  '<link rel="stylesheet" href="/docs/swagger-ui.css">',
  `<p class="bar"><a href="/docs/problems">Problems</a> <a href="/openapi.json">OpenAPI 3.1</a></p>
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script>`,
);

const startScript = `SwaggerUIBundle({
  url: '/openapi.json', dom_id: '#docs', deepLinking: true, validatorUrl: null, queryConfigEnabled: false,
  persistAuthorization: false, presets: [SwaggerUIBundle.presets.apis], layout: 'BaseLayout',
});
`;

const styleSheet = `body { margin: 0 auto; max-width: 1460px; font-family: system-ui, sans-serif; line-height: 1.5 }
.bar, .problems { padding: 0 20px }
.bar a { margin-right: 1em }
.problems dt { margin-top: 1em; scroll-margin-top: 1em }
.problems dt:target { outline: 2px solid }
`;

const problemsPage = pageOf(
  'Problems · Stathera KMS',
  '',
  `<main class="problems"><h1>Problems</h1>
<p>Every refusal is a problem document (RFC 9457). <code>code</code> is stable; <code>type</code> links to its entry here.</p>
<dl>
${errorCodes.map(entry).join('\n')}
</dl></main>`,
);

function entry(code: (typeof errorCodes)[number]): string {
  const { status, title, meaning } = problemKinds[code];
  return `<dt id="${code}"><code>${code}</code> · ${status} · ${inline(title)}</dt><dd>${inline(meaning)}</dd>`;
}

function inline(text: string): string {
  return text
    .replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
    .replace(/`([^`]*)`/g, '<code>$1</code>');
}
