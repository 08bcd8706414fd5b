// The first message of a TLS connection, read for the groups it offers: node tells a server nothing of them.
// RFC 8446 §4.1.2 (ClientHello), §4.2.7 (supported_groups), §4.2.8 (key_share), §5.1 (records).

/** What a client offers for the key exchange, by the numbers of IANA's registry of supported groups. */
export interface ClientHello {
  /** In the client's order. */
  readonly groups: readonly number[];
  /** Those it sent a key for; to get another one costs a HelloRetryRequest. */
  readonly shares: readonly number[];
}

/** `unreadable`: no ClientHello, one that breaks its own lengths, or a longer one than is waited for. */
export type HelloSoFar = ClientHello | 'incomplete' | 'unreadable';

export interface HelloReader {
  /** Takes what came next. Not to be called again after another answer than `incomplete`. */
  push(chunk: Buffer): HelloSoFar;
  /** All that was pushed. */
  bytes(): Buffer;
}

/** Records and all; usual ones have 300 to 2,000 bytes. */
const maxHelloBytes = 16 * 1024;
const recordHeaderBytes = 5;
const handshakeHeaderBytes = 4;
const handshakeRecord = 22;
const clientHello = 1;
const supportedGroups = 10;
const keyShare = 51;

/** Gathers a ClientHello that may come in any number of segments and records. */
export function createHelloReader(): HelloReader {
  let chunks: Buffer[] = [];
  let length = 0;
  // Looked at again only when there is enough for a further step: else single bytes would cost their square.
  let wanted = 1;
  const bytes = () => {
    const [first] = chunks;
    if (first === undefined || chunks.length > 1) chunks = [Buffer.concat(chunks, length)];
    return chunks[0] ?? Buffer.alloc(0);
  };
  return {
    push(chunk) {
      chunks.push(chunk);
      length += chunk.length;
      if (length < wanted) return 'incomplete';
      const found = messageOf(bytes());
      if (typeof found !== 'number') return found === 'unreadable' ? found : parse(found);
      wanted = found;
      return wanted > maxHelloBytes ? 'unreadable' : 'incomplete';
    },
    bytes,
  };
}

/** The ClientHello's body out of its records, or how many bytes there must be to go on. */
function messageOf(bytes: Buffer): Buffer | number | 'unreadable' {
  const parts: Buffer[] = [];
  let gathered = 0;
  let wanted = handshakeHeaderBytes;
  for (let at = 0; ; ) {
    if (gathered >= handshakeHeaderBytes) {
      const message = parts.length === 1 ? (parts[0] ?? bytes) : Buffer.concat(parts);
      if (message[0] !== clientHello) return 'unreadable';
      wanted = handshakeHeaderBytes + message.readUIntBE(1, 3);
      if (wanted > maxHelloBytes) return 'unreadable';
      if (gathered >= wanted) return message.subarray(handshakeHeaderBytes, wanted);
      parts.splice(0, parts.length, message);
    }
    if (at < bytes.length && bytes[at] !== handshakeRecord) return 'unreadable';
    if (bytes.length - at < recordHeaderBytes) return at + recordHeaderBytes;
    const recordBytes = bytes.readUInt16BE(at + 3);
    if (recordBytes === 0) return 'unreadable';
    const end = at + recordHeaderBytes + recordBytes;
    if (bytes.length < end) return end;
    parts.push(bytes.subarray(at + recordHeaderBytes, end));
    gathered += recordBytes;
    at = end;
  }
}

function parse(body: Buffer): ClientHello | 'unreadable' {
  try {
    const fields = createCursor(body);
    fields.skip(2 + 32); // legacy_version, random
    fields.vector(1); // legacy_session_id
    fields.vector(2); // cipher_suites
    fields.vector(1); // legacy_compression_methods
    const extensions = createCursor(fields.vector(2));
    let groups: number[] = [];
    let shares: number[] = [];
    while (!extensions.done()) {
      const type = extensions.number();
      const content = createCursor(extensions.vector(2));
      if (type === supportedGroups) groups = listOf(content, () => undefined);
      if (type === keyShare) shares = listOf(content, (share) => share.vector(2));
    }
    return { groups, shares };
  } catch (error) {
    if (error instanceof RangeError) return 'unreadable';
    throw error;
  }
}

/** Reads numbers, each followed by what `rest` reads, to the end of a vector. @throws RangeError */
function listOf(content: Cursor, rest: (list: Cursor) => unknown): number[] {
  const list = createCursor(content.vector(2));
  const numbers: number[] = [];
  while (!list.done()) {
    numbers.push(list.number());
    rest(list);
  }
  return numbers;
}

interface Cursor {
  done(): boolean;
  skip(bytes: number): Buffer;
  /** The next two bytes. @throws RangeError past the end, as do the others */
  number(): number;
  /** The bytes after a length of `lengthBytes` bytes. */
  vector(lengthBytes: 1 | 2): Buffer;
}

function createCursor(bytes: Buffer): Cursor {
  let at = 0;
  const skip = (count: number) => {
    if (count > bytes.length - at) throw new RangeError('past the end');
    at += count;
    return bytes.subarray(at - count, at);
  };
  return {
    done: () => at === bytes.length,
    skip,
    number: () => skip(2).readUInt16BE(),
    vector: (lengthBytes) => skip(skip(lengthBytes).readUIntBE(0, lengthBytes)),
  };
}
