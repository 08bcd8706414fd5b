import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fsyncPath, mkdirDurably, writeDurably } from '../../core/durable-file.ts';
import type { HsmLog } from './settings.ts';

/**
 * SoftHSM's files where the configuration is ours, and what SoftHSM does not do for them: it syncs nothing,
 * and at each login it cuts the token's own file to nothing and writes it again.
 */

/** Where the tokens are: beside the configuration. */
export function tokensFolder(softhsmConf: string): string {
  return join(dirname(resolve(softhsmConf)), 'tokens');
}

/** Where a token is made, unseen by everybody else, before it is moved to the others. */
export function unfinishedFolder(softhsmConf: string): string {
  return join(dirname(resolve(softhsmConf)), 'tokens.unfinished');
}

/** Writes a configuration that names a folder of tokens, anew when that has moved. Makes the folder. */
export function writeConfiguration(softhsmConf: string, tokens: string): void {
  mkdirDurably(tokens);
  const text = [
    `directories.tokendir = ${tokens}`,
    'objectstore.backend = file',
    'log.level = ERROR',
    'slots.removable = false',
    '',
  ].join('\n');
  if (existsSync(softhsmConf) && readFileSync(softhsmConf, 'utf8') === text) return;
  writeDurably(softhsmConf, text);
}

/** Makes all below a folder survive a power failure. */
export function fsyncTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) fsyncTree(child);
    else if (entry.isFile()) fsyncPath(child);
  }
  fsyncPath(path);
}

/** The token's PIN and flags. Without it every key under the root is lost. */
const tokenFile = 'token.object';
/** The same as it was before or after a login, whole. SoftHSM looks at names that end in `.object` alone. */
const keptFile = 'token.kept';
/** A count of changes comes first. */
const countBytes = 8;

/** Keeps a durable copy of each token's own file, where it is another than the one that is kept. */
export function keepTokenFiles(softhsmConf: string | undefined): void {
  for (const { file, kept } of tokenFiles(softhsmConf)) {
    const [content, copy] = [read(file), read(kept)];
    // Shorter than the copy: another process is in the middle of its login.
    if (isDamaged(content) || content.length < copy.length) continue;
    if (!copy.subarray(countBytes).equals(content.subarray(countBytes))) writeDurably(kept, content);
  }
}

/** Puts back the file of a token whose process died, or whose machine lost its power, while it was rewritten. */
export function restoreTokenFiles(softhsmConf: string | undefined, log: HsmLog = () => undefined): void {
  for (const { file, kept } of tokenFiles(softhsmConf)) {
    const [content, copy] = [read(file), read(kept)];
    if (copy.length === 0 || (content.length >= copy.length && !isDamaged(content))) continue;
    writeDurably(file, copy);
    log('warn', 'hsm.token-restored', {});
  }
}

/** Cut off, or holes that a power failure left. */
function isDamaged(content: Buffer): boolean {
  return content.subarray(countBytes).every((byte) => byte === 0);
}

function tokenFiles(softhsmConf: string | undefined): { file: string; kept: string }[] {
  if (softhsmConf === undefined) return [];
  const tokens = tokensFolder(softhsmConf);
  if (!existsSync(tokens)) return [];
  return readdirSync(tokens, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ file: join(tokens, name, tokenFile), kept: join(tokens, name, keptFile) }));
}

/** Empty when it is not there. */
function read(path: string): Buffer {
  return existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
}

/** Removes what a set-up, that was killed or is done, left of its work. */
export function removeUnfinished(softhsmConf: string): void {
  const unfinished = unfinishedFolder(softhsmConf);
  rmSync(unfinished, { recursive: true, force: true });
  fsyncPath(dirname(unfinished));
}
