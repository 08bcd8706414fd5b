import { createPublicKey } from 'node:crypto';
import { wipe } from '../../core/bytes.ts';
import {
  HsmRejected,
  type KeyRef,
  type PairKind,
  type root,
  type SecretKind,
  transportKeyBits,
} from '../hsm.ts';
import { failedOnce } from './bring-up.ts';
import { createHandleCache, type HandleCache, type HeldKey } from './handles.ts';
import { fitsBlob, valueBytes } from './objects.ts';
import { isPair } from './pair-objects.ts';
import type { KeyHandle, PairRequest, SlowAnswer, SlowRequest, Wrapper } from './slow-protocol.ts';
import type { TokenLink } from './token-link.ts';

/** KEKs are few (one a namespace generation) and every miss needs one: they have a cache of their own. */
const kekLimit = 128;
/** root → KEK → key, with room for one more level. */
const maxDepth = 4;

type Link = Pick<TokenLink, 'ask' | 'lost' | 'generation'>;

/** Keys in the token: the caches of handles and every request to the slow lane that names a key. */
export interface TokenKeys {
  readonly cache: HandleCache;
  generate(kind: SecretKind, under: KeyRef | typeof root): Promise<Uint8Array>;
  generatePair(kind: PairKind, under: KeyRef): Promise<{ blob: Uint8Array; publicKey: Uint8Array }>;
  importSecret(kind: SecretKind, value: Uint8Array, under: KeyRef): Promise<Uint8Array>;
  rewrap(key: KeyRef, to: KeyRef | typeof root): Promise<Uint8Array>;
  transport(key: KeyRef, publicKey: Uint8Array): Promise<Uint8Array>;
  receive(kind: SecretKind, transported: Uint8Array): Promise<Uint8Array>;
  probe(): Promise<void>;
  evict(keyId: string): Promise<void>;
  clear(): void;
}

export function createTokenKeys(link: () => Link, handleLimit: number): TokenKeys {
  const keks: HandleCache = createHandleCache(kekLimit, unwrap, destroySoon);
  const cache: HandleCache = createHandleCache(handleLimit, unwrap, destroySoon);
  /** Fallen out in this turn; at most what the caches hold. */
  let doomed: KeyHandle[] = [];

  /** One message for all keys that fall out in a turn. */
  function destroySoon(key: KeyHandle): void {
    doomed.push({ generation: key.generation, handle: key.handle });
    if (doomed.length > 1) return;
    queueMicrotask(() => {
      const keys = doomed;
      doomed = [];
      // A device that fails here fails the next operation, too; a lost one has forgotten the keys.
      link()
        .ask({ type: 'destroy', keys })
        .catch(() => undefined);
    });
  }

  /** Holds `wrappers` while `request` runs, which is done again once if the token knew a handle no more. */
  async function askWith(
    wrappers: readonly (KeyRef | typeof root)[],
    request: (...held: Wrapper[]) => SlowRequest | PairRequest,
  ): Promise<SlowAnswer> {
    for (let attempt = 0; attempt < 2; attempt++) {
      const held: HeldKey[] = [];
      try {
        const resolved: Wrapper[] = [];
        for (const wrapper of wrappers) {
          if (wrapper === 'root') {
            resolved.push('root');
            continue;
          }
          if (wrapper.kind !== 'kek') throw new RangeError('a key is wrapped under a KEK or the root only');
          const kek = await keks.hold(wrapper);
          held.push(kek);
          resolved.push({ generation: kek.generation, handle: kek.handle });
        }
        const answer = await link().ask(request(...resolved));
        if (answer.outcome !== 'stale') return answer;
        for (const kek of held) keks.forget(kek);
      } finally {
        for (const kek of held) keks.release(kek);
      }
    }
    throw link().lost(0);
  }

  async function unwrap(key: KeyRef): Promise<KeyHandle> {
    requireUnwrappable(key);
    const { kind, blob } = key;
    const generation = link().generation();
    const answer = await askWith([key.under], (under) => ({ type: 'unwrap', kind, blob, under }));
    if (answer.outcome !== 'handle') throw failure(answer);
    return { generation, handle: answer.handle };
  }

  function failure(answer: SlowAnswer): Error {
    if (answer.outcome === 'rejected') return new HsmRejected();
    return link().lost(answer.outcome === 'device' ? answer.returnValue : 0);
  }

  function blobOf(answer: SlowAnswer): Uint8Array {
    if (answer.outcome !== 'blob') throw failure(answer);
    return answer.blob;
  }

  return {
    cache,
    async generate(kind, under) {
      const answer = await askWith([under], (wrapper) => ({ type: 'generate', kind, under: wrapper }));
      if (answer.outcome === 'rejected') throw failedOnce();
      return blobOf(answer);
    },
    async generatePair(kind, under) {
      const answer = await askWith([under], (wrapper) => ({ type: 'generate-pair', kind, under: wrapper }));
      if (answer.outcome === 'rejected') throw failedOnce();
      if (answer.outcome !== 'pair') throw failure(answer);
      return { blob: answer.blob, publicKey: answer.publicKey };
    },
    async importSecret(kind, value, under) {
      if (value.length !== valueBytes(kind)) throw new RangeError('value must have the length of its kind');
      const shared = new Uint8Array(new SharedArrayBuffer(value.length));
      shared.set(value);
      try {
        const request = (wrapper: Wrapper): SlowRequest => ({
          ...{ type: 'import', kind, value: shared, under: wrapper },
        });
        const answer = await askWith([under], request);
        if (answer.outcome === 'rejected') throw failedOnce();
        return blobOf(answer);
      } finally {
        wipe(shared);
      }
    },
    async rewrap(key, to) {
      requireUnwrappable(key);
      const { kind, blob } = key;
      const request = (under: Wrapper, target: Wrapper): SlowRequest => ({
        type: 'rewrap',
        kind,
        blob,
        under,
        to: target,
      });
      return blobOf(
        await askWith([key.under, to], (...held) => request(held[0] ?? 'root', held[1] ?? 'root')),
      );
    },
    async transport(key, publicKey) {
      const { kind, blob } = key;
      if (isPair(kind)) throw new RangeError('a secret key is handed over, never a pair');
      requireTransportKey(publicKey);
      requireUnwrappable(key);
      const request = (under: Wrapper): SlowRequest => ({
        ...{ type: 'transport', kind, blob, under, publicKey },
      });
      return blobOf(await askWith([key.under], request));
    },
    async receive(kind, transported) {
      if (transported.length !== transportKeyBits / 8) throw new HsmRejected();
      const blob = blobOf(await link().ask({ type: 'receive', kind, transported }));
      if (!fitsBlob(kind, blob)) throw new HsmRejected();
      return blob;
    },
    async probe() {
      const answer = await link().ask({ type: 'probe' });
      if (answer.outcome !== 'done') throw failure(answer);
    },
    async evict(keyId) {
      await Promise.all([cache.evict(keyId), keks.evict(keyId)]);
    },
    clear() {
      doomed = [];
      cache.clear();
      keks.clear();
    },
  };
}

/** @throws RangeError */
function requireTransportKey(publicKey: Uint8Array): void {
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
  if (key.asymmetricKeyDetails?.modulusLength !== transportKeyBits)
    throw new RangeError(`a transport key has ${transportKeyBits} bits`);
}

/** @throws HsmRejected for a blob of another length: some other kind's key; RangeError for a chain too long */
function requireUnwrappable(key: KeyRef): void {
  if (!fitsBlob(key.kind, key.blob)) throw new HsmRejected();
  let wrapper: KeyRef | typeof root = key.under;
  for (let depth = 1; wrapper !== 'root'; depth++) {
    if (depth > maxDepth) throw new RangeError('a key is wrapped under too many KEKs');
    wrapper = wrapper.under;
  }
}
