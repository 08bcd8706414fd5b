import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A secret under the name by which a finding may speak of it. */
export interface Planted {
  readonly name: string;
  readonly bytes: Buffer;
}

/** Every way in which some bytes may stand in a text or file: raw, hex, base64 and base64url at each alignment. */
export function formsOf(bytes: Buffer): { readonly form: string; readonly needle: Buffer }[] {
  const hex = bytes.toString('hex');
  const aligned = [0, 1, 2].flatMap((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replaceAll('=', '');
    // Characters that hold bits of what stands before or after are left out.
    const own = text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
    return [
      { form: `base64 at ${before}`, needle: Buffer.from(own) },
      { form: `base64url at ${before}`, needle: Buffer.from(own.replaceAll('+', '-').replaceAll('/', '_')) },
    ];
  });
  return [
    { form: 'raw', needle: bytes },
    { form: 'hex', needle: Buffer.from(hex) },
    { form: 'HEX', needle: Buffer.from(hex.toUpperCase()) },
    { form: 'list of numbers', needle: Buffer.from([...bytes].join(',')) },
    ...aligned,
  ];
}

/** Which secrets stand in `haystack`, and how. */
export function tracesIn(place: string, haystack: Buffer, secrets: readonly Planted[]): string[] {
  return secrets.flatMap(({ name, bytes }) =>
    formsOf(bytes)
      .filter(({ needle }) => haystack.includes(needle))
      .map(({ form }) => `${name} in ${place}, ${form}`),
  );
}

/** Every file under a directory with its content, but those named. */
export async function filesUnder(
  directory: string,
  except: readonly string[],
): Promise<{ readonly path: string; readonly content: Buffer }[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  const wanted = paths.filter((path) => !except.includes(path));
  return await Promise.all(wanted.map(async (path) => ({ path, content: await readFile(path) })));
}

/** Arguments and environment of a process and all that came from it. */
export async function processTexts(
  pid: number,
): Promise<{ readonly path: string; readonly content: Buffer }[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const own = await Promise.all(
    ['cmdline', 'environ'].map(async (name) => {
      const path = `/proc/${pid}/${name}`;
      return { path, content: await readFile(path) };
    }),
  );
  const theirs = await Promise.all(
    children
      .split(' ')
      .filter(Boolean)
      .map((child) => processTexts(Number(child))),
  );
  return [...own, ...theirs.flat()];
}
