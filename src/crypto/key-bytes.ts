/**
 * Runs a call of node:crypto that is given a key as bytes. Node finds out that bytes are no KeyObject by an error that
 * it catches, two or four times a call, and what such an error costs is its stack trace: 3 to 30 µs, the more the deeper
 * the stack. So none is taken meanwhile, which an error that `work` throws lacks too.
 * @param work synchronous
 */
export function withKeyBytes<T>(work: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return work();
  } finally {
    Error.stackTraceLimit = limit;
  }
}
