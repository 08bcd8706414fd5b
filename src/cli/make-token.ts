import { closeSync, existsSync, fsyncSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Client } from '../client/index.ts';
import { fsyncPath } from '../core/durable-file.ts';
import { Failed } from './failed.ts';

type Made = Awaited<ReturnType<Client['createToken']>>;

/**
 * Makes a token and, with `out`, writes its secret to that new file (mode 0600). The file is made first: a secret
 * that could not be kept would be lost. One that cannot be written all the same is revoked.
 */
export async function createToken(
  client: Client,
  request: Parameters<Client['createToken']>[0],
  out: string | undefined,
): Promise<Made> {
  if (out === undefined) return client.createToken(request);
  // Also not over one that is there: it may be a token that is in use.
  if (existsSync(out)) throw new Failed(`${out} is already there: name a new file with --out`);
  const file = openSync(out, 'wx', 0o600);
  try {
    const made = await client.createToken(request);
    try {
      writeFileSync(file, `${made.secret}\n`);
      fsyncSync(file);
      fsyncPath(dirname(out));
    } catch (error) {
      await client.revokeToken({ id: made.id });
      throw error;
    }
    return made;
  } catch (error) {
    rmSync(out, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}
