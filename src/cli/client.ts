import { readFile } from 'node:fs/promises';
import type { Environment } from '../config.ts';

/** A call that did not succeed; the text tells what to do next. */
export class ClientError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ClientError';
  }
}

const timeoutMilliseconds = 30_000;

export interface Client {
  /** @throws ClientError */
  call(method: string, path: string, body?: unknown): Promise<unknown>;
}

/** The service a user's environment points at: STATHERA_URL and STATHERA_TOKEN_FILE. */
export function createClient(environment: Environment): Client {
  const url = environment['STATHERA_URL'] ?? 'http://127.0.0.1:8300';
  const tokenFile =
    environment['STATHERA_TOKEN_FILE'] ?? `${environment['STATHERA_DATA_DIR'] ?? './data'}/bootstrap-token`;
  return {
    async call(method, path, body) {
      const token = await readToken(tokenFile);
      const response = await send(url, path, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(timeoutMilliseconds),
        redirect: 'error',
      });
      const answer: unknown =
        response.status === 204 ? undefined : await response.json().catch(() => undefined);
      // What another server says to this path is no answer, however well it went.
      if (response.ok && response.headers.has('stathera-version')) return answer;
      throw new ClientError(problemText(response.status, answer, tokenFile));
    },
  };
}

async function readToken(file: string): Promise<string> {
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).trim();
  } catch {
    throw new ClientError(
      `cannot read the token file ${file}: set STATHERA_TOKEN_FILE to a file that holds your token`,
    );
  }
  // Anything else would fail as a header, and look as if the service were away.
  if (/^[!-~]+$/.test(text)) return text;
  throw new ClientError(`${file} holds no token: set STATHERA_TOKEN_FILE to a file with your token alone`);
}

async function send(url: string, path: string, init: RequestInit): Promise<Response> {
  if (!URL.canParse(path, url)) throw new ClientError(`STATHERA_URL is no URL: ${url}`);
  try {
    return await fetch(new URL(path, url), init);
  } catch {
    throw new ClientError(`no service answers at ${url}: is it running (npm start), is STATHERA_URL right?`);
  }
}

function problemText(status: number, answer: unknown, tokenFile: string): string {
  const problem = (answer ?? {}) as {
    code?: string;
    detail?: string;
    errors?: { pointer: string; detail: string }[];
  };
  if (problem.code === undefined)
    return `the server answered ${status} and no problem document: is STATHERA_URL a Stathera service?`;
  const rules = (problem.errors ?? [])
    .map(({ pointer, detail }) => `\n  ${pointer || '/'} ${detail}`)
    .join('');
  const hint = status === 401 ? ` (the token in ${tokenFile} is unknown, expired or revoked)` : '';
  return `${problem.code}: ${problem.detail ?? ''}${hint}${rules}`;
}
