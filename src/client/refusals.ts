import { StatheraError } from './errors.ts';

/** As the service says it: one text for every reason. */
export function decryptionFailed(): StatheraError {
  return new StatheraError(
    'envelope/decryption-failed',
    'The ciphertext cannot be decrypted with this key, context and associated data.',
  );
}

/** The service answered, but not what was asked for. */
export function wrongDataKey(operationId: string): StatheraError {
  return new StatheraError('client/answer-invalid', 'The service answered with no or another data key.', {
    operationId,
  });
}
