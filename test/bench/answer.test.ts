import { expect, test } from 'vitest';
import { createAnswerReader } from '../../bench/load/answer.ts';

const answers = [
  {
    status: 200,
    wire: 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 5\r\n\r\n{"a"}',
  },
  { status: 503, wire: 'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n' },
  {
    status: 200,
    wire: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n2\r\n"}\r\n0\r\n\r\n',
  },
  { status: 204, wire: 'HTTP/1.1 204 No Content\r\n\r\n' },
];

/** Guarantees that an answer ends where it ends, however it is cut on its way, and that the next one is read after it. */
test.each(answers)('finds the end of an answer: $wire', ({ status, wire }) => {
  const bytes = Buffer.from(wire);
  const reader = createAnswerReader();
  expect(reader.read(bytes)).toBe(status);
  for (let cut = 1; cut < bytes.length; cut += 1) {
    // One buffer is used for all that arrives.
    const buffer = Buffer.alloc(bytes.length);
    const read = (part: Buffer) => reader.read(buffer.subarray(0, part.copy(buffer)));
    expect(read(bytes.subarray(0, cut))).toBeUndefined();
    expect(read(bytes.subarray(cut))).toBe(status);
  }
  for (const [index, byte] of bytes.entries()) {
    expect(reader.read(Buffer.of(byte))).toBe(index === bytes.length - 1 ? status : undefined);
  }
});

/** Guarantees that nothing is taken for an answer that is none, or whose end nobody can know. */
test.each([
  'SSH-2.0-OpenSSH_9.2\r\n\r\n',
  'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}',
  'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}',
])('refuses %j', (wire) => {
  expect(() => createAnswerReader().read(Buffer.from(wire))).toThrow(/answer/);
});
