import type { PayloadCiphers } from '../crypto/payload/ciphers.ts';
import {
  encodePayloadHeader,
  isOfKeyVersion,
  isPayload,
  isSameDataKey,
  joined,
  keyIdOf,
  type ParsedPayloadHeader,
  parsePayloadHeader,
} from '../crypto/payload/format.ts';
import { openMessage } from '../crypto/payload/message.ts';
import { openSegments, StreamDamaged } from '../crypto/payload/segments.ts';
import {
  type Context,
  createDataKeys,
  type DataKeyService,
  type ReuseSettings,
  reuseDefaults,
  reuseMost,
} from './data-keys.ts';
import { decryptionFailed, wrongDataKey } from './refusals.ts';
import { createMemorySpool, type Spool } from './spool.ts';
import {
  type ByteSource,
  begin,
  openVerified,
  parseStreamHeader,
  sealStream,
  streamKeyOf,
} from './streams.ts';
import type { CallOptions } from './types.ts';

/** The operations of the service that local encryption needs; a client has them. */
export interface LocalService extends DataKeyService {
  rewrap(
    input: RewrapInput & { key: string; ciphertext: Uint8Array; context: Context },
    options: CallOptions,
  ): Promise<{ readonly ciphertext: Uint8Array }>;
}

export interface LocalSettings {
  readonly client: LocalService;
  /** The key that wraps new data keys: its name or id. Not needed to decrypt. */
  readonly key?: string;
  /** How far a data key is used again; false for a data key a message. Default `reuseDefaults`. */
  readonly reuse?: Partial<ReuseSettings> | false;
  /** Where a stream is kept until it is verified. */
  readonly createSpool?: () => Spool;
}

export interface Place extends CallOptions {
  /** Authenticated by the service together with the data key. Default none. */
  readonly context?: Context;
  /** Authenticated here, never sent: what ties the data to its place (a row, a file name). Default none. */
  readonly associatedData?: Uint8Array;
  /**
   * A key by name or id. To encrypt, instead of the key of the settings. To decrypt, the only one that opens: without
   * it, any that the caller may use does, which whoever may encrypt with another of them can make use of.
   */
  readonly key?: string;
}

export interface OpenStreamOptions extends Place {
  /**
   * Gives out each segment as soon as it is verified by itself. It is what was encrypted, and in its place; but that
   * the stream was cut off shows at its end alone, when its beginning has been used.
   */
  readonly unsafePipe?: boolean;
  /** Where it is kept until it is verified, instead of what the settings make. */
  readonly spool?: Spool | undefined;
}

export interface RewrapInput {
  /** Default: the same key. */
  readonly toKey?: string;
  /** Default: the same context; `{}` clears it. */
  readonly toContext?: Context;
}

/** Encrypts and decrypts in this process, with data keys from the service: the data never leave it. */
export interface LocalEncryption {
  /** @param plaintext neither changed nor kept */
  encrypt(plaintext: Uint8Array, options?: Place): Promise<Uint8Array>;
  /**
   * Opens what `encrypt` made, here or in the service. What a key version in the HSM made is sent to the service.
   * @returns the plaintext, for the caller to wipe
   * @throws StatheraError `envelope/decryption-failed` for every reason
   */
  decrypt(ciphertext: Uint8Array, options?: Place): Promise<Uint8Array>;
  /** Constant memory, any length. @yields pieces of what `decryptStream` opens */
  encryptStream(source: ByteSource, options?: Place): AsyncGenerator<Uint8Array, void, undefined>;
  /**
   * Opens a stream, or what `decrypt` opens. Nothing is yielded before all is verified, but for `unsafePipe`.
   * @throws StatheraError `envelope/decryption-failed`
   */
  decryptStream(source: ByteSource, options?: OpenStreamOptions): AsyncGenerator<Uint8Array, void, undefined>;
  /** Moves a message, or any beginning of a message or a stream that has the whole header, to the current version. */
  rewrap(ciphertext: Uint8Array, options?: Place & RewrapInput): Promise<Uint8Array>;
  /** Forgets the data keys it holds. */
  forget(): void;
}

const none = new Uint8Array();
const spoolBytes = 64 * 1024 * 1024;
/** Messages are opened whole. */
const messageLimitBytes = 64 * 1024 * 1024;

export function createLocalEncryptionOn(
  ciphers: PayloadCiphers,
  { client, key, reuse, createSpool = () => createMemorySpool(spoolBytes) }: LocalSettings,
): LocalEncryption {
  const dataKeys = createDataKeys({
    service: client,
    ciphers,
    reuse: reuse === false ? false : reuseLimits(reuse),
    monotonic: () => performance.now(),
  });

  function placeOf({ key: named = key, context = {} }: Place): { key: string; context: Context } {
    if (named === undefined)
      throw new TypeError('name the key: createLocalEncryption({ key }) or { key } here');
    return { key: named, context };
  }

  async function unwrapped({ wrapped }: ParsedPayloadHeader, { key: only, context = {}, signal }: Place) {
    return dataKeys.unwrapped(wrapped, { key: only, context }, { signal });
  }

  const local: LocalEncryption = {
    async encrypt(plaintext, options = {}) {
      const sealer = await dataKeys.forMessage(placeOf(options), plaintext.length, options);
      return sealer.seal(plaintext, options.associatedData ?? none);
    },

    async decrypt(ciphertext, options = {}) {
      const { context = {}, associatedData = none, signal } = options;
      if (!isPayload(ciphertext)) {
        if (associatedData.length > 0 || !isOfKeyVersion(ciphertext)) throw decryptionFailed();
        const input = { ciphertext, context };
        const opened = await (options.key === undefined
          ? client.decrypt(input, { signal })
          : client.decryptWithKey({ key: options.key, ...input }, { signal }));
        return opened.plaintext;
      }
      const header = wholeHeader(ciphertext);
      if (header.kind !== 'message') throw decryptionFailed();
      const { message } = await unwrapped(header, options);
      const plaintext = await openMessage(message, header, { bytes: ciphertext, associatedData });
      if (!plaintext) throw decryptionFailed();
      return plaintext;
    },

    async *encryptStream(source, options = {}) {
      const dataKey = await dataKeys.fresh(placeOf(options), options);
      const { associatedData = none } = options;
      yield* sealStream(ciphers, dataKey, { source: ended(source, options), associatedData });
    },

    async *decryptStream(source, options = {}) {
      const { associatedData = none } = options;
      try {
        const { header, pieces } = await begin(ended(source, options), parseStreamHeader);
        if (header === undefined) return yield await local.decrypt(await collected(pieces), options);
        const streamKey = await streamKeyOf(ciphers, await unwrapped(header, options), {
          header,
          associatedData,
        });
        if (options.unsafePipe === true) yield* openSegments(streamKey, pieces);
        else yield* openVerified(streamKey, pieces, options.spool ?? createSpool());
      } catch (error) {
        throw error instanceof StreamDamaged ? decryptionFailed() : error;
      }
    },

    async rewrap(ciphertext, { context = {}, toKey, toContext, signal } = {}) {
      const header = wholeHeader(ciphertext);
      const { wrapped, headerBytes } = header;
      const to = { ...(toKey !== undefined && { toKey }), ...(toContext !== undefined && { toContext }) };
      const input = { key: keyIdOf(wrapped), ciphertext: wrapped, context, ...to };
      const moved = (await client.rewrap(input, { signal })).ciphertext;
      // Put over the old header, anything else would cost the data.
      if (!isSameDataKey(wrapped, moved)) throw wrongDataKey('rewrap');
      return joined(encodePayloadHeader({ ...header, wrapped: moved }), ciphertext.subarray(headerBytes));
    },

    forget: dataKeys.clear,
  };
  return local;
}

/** @throws RangeError */
function reuseLimits(reuse: Partial<ReuseSettings> = {}): ReuseSettings {
  const limits = { ...reuseDefaults, ...reuse };
  for (const name of Object.keys(reuseDefaults) as (keyof ReuseSettings)[]) {
    const value = limits[name];
    if (!Number.isInteger(value) || value < 1 || value > reuseMost[name])
      throw new RangeError(`reuse.${name} must be a whole number from 1 to ${reuseMost[name]}`);
  }
  return limits;
}

function wholeHeader(bytes: Uint8Array): ParsedPayloadHeader {
  const header = parsePayloadHeader(bytes);
  if (header === undefined || header === 'incomplete') throw decryptionFailed();
  return header;
}

/** All of what is no stream. @throws StatheraError when it is longer than any message */
async function collected(pieces: ByteSource): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let total = 0;
  for await (const piece of pieces) {
    total += piece.length;
    if (total > messageLimitBytes) throw decryptionFailed();
    // The memory of a piece may be used for the next one.
    parts.push(piece.slice());
  }
  return joined(...parts);
}

async function* ended(source: ByteSource, { signal }: CallOptions): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    signal?.throwIfAborted();
    yield piece;
  }
}
