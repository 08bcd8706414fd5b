import type { Principal } from '../access/caller.ts';
import type { AuditTarget } from '../audit/entry.ts';
import { wipe } from '../core/bytes.ts';
import { isServiceError } from '../core/errors.ts';
import { idFromBytes } from '../core/ids.ts';
import type { Hsm } from '../hsm/hsm.ts';
import { decryptionFailed, type Key, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import { type Context, type ParsedCiphertext, parseCiphertext } from './format.ts';
import { createMessages } from './messages.ts';
import { createPayloads, directLimitBytes, payloadHeader, withWrapped } from './payloads.ts';

export interface EncryptRequest {
  readonly key: string;
  /** Up to 4,096 bytes are encrypted inside the HSM, more under a data key. */
  readonly plaintext: Uint8Array;
  readonly context: Context;
}

export interface DecryptRequest {
  /** Where the caller names the key, the ciphertext must be that key's. */
  readonly key?: string | undefined;
  readonly ciphertext: Uint8Array;
  readonly context: Context;
}

export interface RewrapRequest {
  readonly key: string;
  readonly ciphertext: Uint8Array;
  readonly context: Context;
  /** Default: the same key. */
  readonly toKey?: string | undefined;
  /** Default: the same context; `{}` clears it. */
  readonly toContext?: Context | undefined;
}

export interface RenewRequest {
  readonly key: string;
  /** Of a ciphertext under a data key, any beginning that has the whole header will do. */
  readonly ciphertext: Uint8Array;
  readonly context: Context;
}

/** What a rewrap to the newest version has done. */
export type Renewed =
  /** It is of the newest version already: nothing was done, and nothing of it was checked. */
  | { readonly status: 'newest'; readonly keyId: string; readonly keyVersion: number }
  | (Sealed & { readonly status: 'rewrapped'; readonly fromVersion: number });

export interface DataKeysRequest {
  readonly key: string;
  /** 1–100 */
  readonly count: number;
  /** 16–64 */
  readonly bytes: number;
  readonly context: Context;
  /** Gives the keys in clear besides wrapped. */
  readonly plaintext: boolean;
}

export interface Sealed {
  readonly ciphertext: Uint8Array;
  readonly keyId: string;
  readonly keyVersion: number;
}

export interface Opened {
  /** For whoever receives it to wipe. */
  readonly plaintext: Uint8Array;
  readonly keyId: string;
  readonly keyVersion: number;
}

export interface DataKey {
  readonly plaintext?: Uint8Array;
  readonly wrapped: Uint8Array;
  readonly keyVersion: number;
}

/** Names in the audit record what was found. */
export type Note = (target: AuditTarget) => void;

/**
 * What single operations and batch items have in common: a principal that was authorized, one request, and
 * where to note what was found. Recording is up to whoever calls.
 */
export function createWork({ keys, hsm }: { keys: Keys; hsm: Hsm }) {
  const messages = createMessages(hsm);
  const payloads = createPayloads({ hsm, messages });

  /** The key of a ciphertext and whatever hides it: all failures before cryptography look alike. */
  async function keyOf(
    principal: Principal,
    request: { key?: string | undefined; ciphertext: Uint8Array },
    note: Note,
  ): Promise<{ key: Key; parsed: ParsedCiphertext }> {
    const parsed = parseCiphertext(request.ciphertext);
    if (!parsed) throw decryptionFailed();
    const key = await keys.find(principal, idText(parsed.keyId)).catch(hiddenAlike);
    if (request.key !== undefined && request.key !== key.name && request.key !== key.id)
      throw decryptionFailed();
    note(targetOf(key));
    return { key, parsed };
  }

  async function openable(principal: Principal, request: DecryptRequest, note: Note) {
    const header = payloadHeader(request.ciphertext);
    const ciphertext = header?.wrapped ?? request.ciphertext;
    const { key, parsed } = await keyOf(principal, { key: request.key, ciphertext }, note);
    const version = await keys.decrypting(key, idText(parsed.versionId));
    if (!version) throw decryptionFailed();
    note({ ...targetOf(key), version: version.ordinal });
    return { key, parsed, version, header };
  }

  async function rewrapped(
    { parsed, version, header }: Awaited<ReturnType<typeof openable>>,
    to: { readonly key: Key; readonly context: Context },
    { ciphertext: from, context }: RenewRequest,
    note: Note,
  ): Promise<Sealed> {
    const target = { version: await keys.encrypting(to.key, 1, from.length), context: to.context };
    const moved = await messages.reseal({ version, parsed, context }, target);
    const ciphertext = header ? withWrapped(header, moved, from) : moved;
    keys.touch(version);
    note({ ...targetOf(to.key), version: target.version.ordinal });
    return { ciphertext, keyId: to.key.id, keyVersion: target.version.ordinal };
  }

  return {
    async encrypt(principal: Principal, request: EncryptRequest, note: Note): Promise<Sealed> {
      const key = await keys.find(principal, request.key);
      note(targetOf(key));
      const { dataKeyReuse: limits } = key;
      // A data key that is used again is a use when it is wrapped.
      const version = await keys.encrypting(key, limits ? 0 : 1, request.plaintext.length);
      note({ ...targetOf(key), version: version.ordinal });
      const ciphertext = limits
        ? await payloads.sealAgain(version, request, { limits, count: () => keys.encrypting(key) })
        : request.plaintext.length > directLimitBytes
          ? await payloads.seal(version, request)
          : await messages.seal(version, { kind: 'message', ...request });
      return { ciphertext, keyId: key.id, keyVersion: version.ordinal };
    },

    async decrypt(principal: Principal, request: DecryptRequest, note: Note): Promise<Opened> {
      const { key, parsed, version, header } = await openable(principal, request, note);
      const plaintext = header
        ? await payloads.open(version, { header, parsed, ...request }, key.dataKeyReuse)
        : await messages.open(version, parsed, request.context);
      keys.touch(version);
      return { plaintext, keyId: key.id, keyVersion: version.ordinal };
    },

    async rewrap(principal: Principal, request: RewrapRequest, note: Note): Promise<Sealed> {
      const found = await openable(principal, request, note);
      const key = request.toKey === undefined ? found.key : await keys.find(principal, request.toKey);
      return await rewrapped(found, { key, context: request.toContext ?? request.context }, request, note);
    },

    /** The same for who has many, most of which may be moved already: to the newest version, of no other key. */
    async renew(principal: Principal, request: RenewRequest, note: Note): Promise<Renewed> {
      const found = await openable(principal, request, note);
      const { key, version } = found;
      if (version.id === key.currentVersionId)
        return { status: 'newest', keyId: key.id, keyVersion: version.ordinal };
      const sealed = await rewrapped(found, { key, context: request.context }, request, note);
      return { status: 'rewrapped', fromVersion: version.ordinal, ...sealed };
    },

    async dataKeys(principal: Principal, request: DataKeysRequest, note: Note): Promise<DataKey[]> {
      const { count, bytes, context } = request;
      const key = await keys.find(principal, request.key);
      note(targetOf(key));
      const version = await keys.encrypting(key, count, count * bytes);
      note({ ...targetOf(key), version: version.ordinal });
      return await Promise.all(
        Array.from({ length: count }, async (): Promise<DataKey> => {
          const plaintext = await hsm.random(bytes);
          let kept = false;
          try {
            const wrapped = await messages.seal(version, { kind: 'data-key', plaintext, context });
            kept = request.plaintext;
            return { ...(kept && { plaintext }), wrapped, keyVersion: version.ordinal };
          } finally {
            if (!kept) wipe(plaintext);
          }
        }),
      );
    },

    /** @param bytes 1–65,536 */
    random: (bytes: number): Promise<Uint8Array> => hsm.random(bytes),
  };
}

export type Work = ReturnType<typeof createWork>;

function idText(bytes: Uint8Array): string {
  try {
    return idFromBytes(bytes);
  } catch {
    throw decryptionFailed();
  }
}

function hiddenAlike(error: unknown): never {
  throw isServiceError(error, 'key/not-found') ? decryptionFailed() : error;
}
