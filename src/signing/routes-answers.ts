import type { z } from 'zod';
import { toBase64 } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import type { AskedInput } from '../crypto/signatures/schemes.ts';
import type { signatureAnswer, signBody } from './routes-schemas.ts';
import type { Signature } from './work.ts';

/** @throws request/invalid unless there is one of `message`, `digest` and `mu`, and no `context` beside a `mu` */
export function askedOf(body: z.output<typeof signBody>): AskedInput {
  const { message, digest, mu, ...rest } = body;
  const given = (['message', 'digest', 'mu'] as const).filter((form) => body[form] !== undefined);
  const [form] = given;
  const bytes = message ?? digest ?? mu;
  if (form === undefined || bytes === undefined || given.length > 1) {
    throw unfit('/message', 'There must be one of message, digest and mu.');
  }
  if (form === 'mu' && rest.context !== undefined) throw unfit('/context', 'A mu has its context in it.');
  return { form, bytes, ...rest };
}

export function signatureOut({ signature, ...rest }: Signature): z.output<typeof signatureAnswer> {
  return { signature: toBase64(signature), ...rest };
}

function unfit(pointer: string, detail: string): ServiceError {
  return new ServiceError('request/invalid', 'The request is not valid.', { errors: [{ pointer, detail }] });
}
