import { readFile, stat } from 'node:fs/promises';
import { type CredentialsRequest, isToken } from '../credentials.ts';
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
    } catch (error) {
      const { code } = error as { code?: unknown };
      throw invalid(
        `The token file ${path} cannot be read (${typeof code === 'string' ? code : 'unknown'}).`,
      );
    }
    if (isToken(known.token)) return known.token;
    throw invalid(
      `The file ${path} holds no token: a token stands alone in it, as it was shown when it was made.`,
    );
  };
}

function invalid(detail: string): StatheraError {
  return new StatheraError('client/token-invalid', detail);
}
