// The end and the status of HTTP/1.1 answers on one connection, one at a time; their bodies are let go.

export interface AnswerReader {
  /**
   * Takes what has arrived next.
   * @returns the status once the answer is complete
   * @throws Error for what is no answer, or an answer whose end cannot be known
   */
  read(chunk: Buffer): number | undefined;
  /** True when the server closes the connection after the last answer that was read. */
  closes(): boolean;
}

const headLimitBytes = 64 * 1024;
const headEnd = '\r\n\r\n';
/** The last chunk of a body in chunks. JSON holds no bare line breaks, so nothing else ends like it. */
const lastChunk = '0\r\n\r\n';

export function createAnswerReader(): AnswerReader {
  /** A head that did not arrive in one piece. */
  let begun: Buffer | undefined;
  let status: number | undefined;
  /** Bytes of the body that are still to come; for chunks, the end of what came. */
  let remaining = 0;
  let tail: string | undefined;
  let closing = false;

  function body(chunk: Buffer): number | undefined {
    if (tail === undefined) {
      remaining -= chunk.length;
      if (remaining < 0) throw new Error('more bytes than the answer has');
      if (remaining > 0) return undefined;
    } else {
      tail = (tail + chunk.toString('latin1', Math.max(0, chunk.length - 5))).slice(-5);
      if (tail !== lastChunk) return undefined;
    }
    const complete = status;
    status = undefined;
    return complete;
  }

  return {
    closes: () => closing,
    read(chunk) {
      if (status !== undefined) return body(chunk);
      const received: Buffer = begun === undefined ? chunk : Buffer.concat([begun, chunk]);
      const end = received.indexOf(headEnd);
      if (end < 0) {
        if (received.length > headLimitBytes) throw new Error('a head without an end');
        // What arrives is in a buffer that is used again.
        begun = Buffer.from(received);
        return undefined;
      }
      begun = undefined;
      const head = received.toString('latin1', 0, end);
      const found = /^HTTP\/1\.[01] ([1-5]\d\d)/.exec(head)?.[1];
      if (found === undefined) throw new Error('no HTTP/1.1 answer');
      status = Number(found);
      const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
      tail = length === undefined && /\r\ntransfer-encoding: *chunked/i.test(head) ? '' : undefined;
      if (length === undefined && tail === undefined && status !== 204)
        throw new Error('an answer without its length');
      remaining = Number(length ?? 0);
      closing = /\r\nconnection: *close/i.test(head);
      return body(received.subarray(end + headEnd.length));
    },
  };
}
