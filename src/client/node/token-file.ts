import { readFile, stat } from 'node:fs/promises';
import type { CredentialsRequest } from '../credentials.ts';
import { StatheraError } from '../errors.ts';

/**
 * The token in a file, alone or with a line break after it. The file is read again when it has changed, and when the
 * token was refused.
 */
export function tokenFromFile(path: string): (request: CredentialsRequest) => Promise<string> {
  let known: { readonly mark: string; readonly token: string } | undefined;
  return async ({ refresh }) => {
    try {
      const { ino, mtimeNs, size } = await stat(path, { bigint: true });
      const mark = `${ino} ${mtimeNs} ${size}`;
      if (refresh || known?.mark !== mark) known = { mark, token: (await readFile(path, 'utf8')).trim() };
      return known.token;
    } catch (error) {
      const { code } = error as { code?: unknown };
      throw new StatheraError(
        'client/token-invalid',
        `The token file cannot be read${typeof code === 'string' ? ` (${code})` : ''}: is its path right, and may this user read it?`,
      );
    }
  };
}
