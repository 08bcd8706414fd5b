// Drives one server of the user's choice, this service or another of its kind; see --help.
// Leaves out: what the server does besides, and the server's own cost: measure that where it runs.
import { randomBytes } from 'node:crypto';
import { generate, type Load, type LoadResult } from './generate.ts';
import { help, OptionError, type Options, readOptions } from './options.ts';
import { type Exchange, wireBytes } from './styles.ts';

/** How long a request is sent as it is: AWS takes signatures of the last few minutes. */
const renewMilliseconds = 60_000;
const shownCharacters = 300;

/** One exchange before the rest. @returns the answer. @throws OptionError when it is no success */
async function tryOnce(url: URL, { path, headers, body }: Exchange): Promise<unknown> {
  const { Host: _, ...others } = headers;
  const request = { method: 'POST', headers: others, body, redirect: 'manual' as const };
  const answer = await fetch(new URL(path, url), request).catch((error: Error) => {
    const { code } = (error.cause ?? {}) as { code?: unknown };
    throw new OptionError(`${url.origin} cannot be reached${typeof code === 'string' ? `: ${code}` : ''}`);
  });
  const text = await answer.text();
  if (answer.status !== 200) {
    throw new OptionError(`${url.origin} answered ${answer.status}: ${text.slice(0, shownCharacters)}`);
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new OptionError(`${url.origin} answered something else than JSON`);
  }
}

/** @returns what makes the exchange to repeat */
async function exchangeOf({ url, style, operation, bytes }: Options): Promise<() => Exchange> {
  const plaintext = randomBytes(bytes);
  const encryption = () => style.encrypt(plaintext);
  const ciphertext = style.ciphertext(await tryOnce(url, encryption()));
  if (ciphertext === undefined) throw new OptionError(`${url.origin} answered without a ciphertext`);
  if (operation === 'encrypt') return encryption;
  await tryOnce(url, style.decrypt(ciphertext));
  return () => style.decrypt(ciphertext);
}

/** The bytes to send, made anew from time to time. */
function renewed(make: () => Exchange): () => Buffer {
  let bytes = wireBytes(make());
  let madeAt = performance.now();
  return () => {
    if (performance.now() - madeAt > renewMilliseconds) {
      bytes = wireBytes(make());
      madeAt = performance.now();
    }
    return bytes;
  };
}

async function drive(options: Options): Promise<LoadResult> {
  const { url, connections, seconds } = options;
  const tls = url.protocol === 'https:';
  const port = url.port === '' ? (tls ? 443 : 80) : Number(url.port);
  // A URL has IPv6 addresses in brackets, a socket has not.
  const host = url.hostname.replaceAll(/[[\]]/g, '');
  const next = renewed(await exchangeOf(options));
  const load: Omit<Load, 'milliseconds'> = { target: { host, port, tls }, connections, next };
  await generate({ ...load, milliseconds: (seconds * 1000) / 5 });
  return await generate({ ...load, milliseconds: seconds * 1000 });
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2), process.env);
  if (options === undefined) {
    process.stdout.write(help);
    return 0;
  }
  const { url, styleName, operation, bytes, connections, seconds } = options;
  const result = await drive(options);
  const errors = Object.entries(result.errors).map(([status, count]) => `${status}: ${count}`);
  const setting = `${connections} connections, ${seconds} s`;
  process.stdout.write(`${url.origin} (${styleName}), ${operation} ${bytes} B, ${setting}\n`);
  const latencies = `p50 ${result.p50Ms.toFixed(2)} ms, p99 ${result.p99Ms.toFixed(2)} ms`;
  process.stdout.write(`${result.rate.toFixed(0)}/s, ${latencies}\n`);
  process.stdout.write(`errors: ${errors.length === 0 ? 'none' : errors.join(', ')}\n`);
  const described = { url: url.origin, style: styleName, operation, bytes, connections, seconds };
  process.stdout.write(`${JSON.stringify({ load: described, ...result })}\n`);
  return errors.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof OptionError)) throw error;
  process.stderr.write(`${error.message}\nTry --help.\n`);
  process.exitCode = 2;
}
