import { ServiceError } from '../core/errors.ts';
import type { FieldRefused } from '../crypto/fields/refusals.ts';

/** What a refused document is answered. It names a field of the schema, and nothing of the document. */
export function refusalOf({ reason, field, message }: FieldRefused, pointer: string): ServiceError {
  if (reason === 'not sealed')
    return new ServiceError('fields/decryption-failed', 'A value of the document cannot be opened.');
  return new ServiceError(
    'fields/value-refused',
    'The document holds a value that its treatment does not take.',
    {
      errors: [{ pointer, detail: field === undefined ? message : `${field} ${message}` }],
    },
  );
}
