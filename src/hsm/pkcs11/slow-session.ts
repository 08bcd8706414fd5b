import pkcs11js from 'pkcs11js';
import { wipe } from '../../core/bytes.ts';
import type { KeyKind } from '../hsm.ts';
import { type Cryptoki, failureKind, type Handle, readOnlySession, returnValue } from './cryptoki.ts';
import { keepsUnextractable } from './custody.ts';
import { tokenKnownAnswers } from './known-answers.ts';
import { findRoot, findSlot, logIn } from './login.ts';
import { moduleTraits } from './modules.ts';
import { generateMechanism, generateTemplate, inUseTemplate, transitTemplate } from './objects.ts';
import type { HsmLog } from './settings.ts';
import type { SlowAnswer, SlowRequest, SlowSettings, TokenDescription, Wrapper } from './slow-protocol.ts';
import { TokenRefusal } from './token-refusal.ts';
import { unwrapTransported, wrapForTransport } from './transport.ts';
import { createWrapping, type Wrapping } from './wrapping.ts';

type KeyRequest = Exclude<SlowRequest, { type: 'initialize' | 'finish' }>;
type RequestOf<Type extends KeyRequest['type']> = Extract<KeyRequest, { type: Type }>;

/** The slow lane's use of one initialized, logged-in token. */
export interface SlowSession {
  readonly token: TokenDescription;
  readonly generation: number;
  /** Never throws: every failure is an answer. */
  answer(request: KeyRequest): SlowAnswer;
}

/** One logged-in token in one generation. */
interface Token {
  readonly cryptoki: Cryptoki;
  readonly session: Handle;
  readonly root: Handle;
  readonly rootId: string;
  readonly generation: number;
  readonly wrapping: Wrapping;
}

/**
 * Opens the anchor session (closing the last session would log out; keys live and die with this one), logs
 * in, proves the token by known answers and finds the root.
 * @throws TokenRefusal, KnownAnswerMismatch, or the module's error
 */
export function openSlowSession(
  cryptoki: Cryptoki,
  settings: SlowSettings,
  generation: number,
  log: HsmLog,
): SlowSession {
  const { wrapMechanism } = settings;
  const slot = findSlot(cryptoki, settings.tokenLabel);
  const info = cryptoki.C_GetTokenInfo(slot);
  const session = cryptoki.C_OpenSession(slot, readOnlySession);
  logIn(cryptoki, session, settings.pinFile, log);
  tokenKnownAnswers(cryptoki, session, wrapMechanism);
  if (!keepsUnextractable(cryptoki, session, wrapMechanism)) admitLeak(settings.module, log);
  const { root, rootId } = findRoot(cryptoki, session);
  const wrapping = createWrapping(cryptoki, session, { root, wrapMechanism });
  wrapping.probeRoot();
  const token = { cryptoki, session, root, rootId, generation, wrapping };
  return {
    token: {
      rootId,
      slot: new Uint8Array(slot),
      manufacturer: info.manufacturerID.trimEnd(),
      model: info.model.trimEnd(),
    },
    generation,
    answer(request) {
      const first = answer(token, request);
      // A device that works may still have failed once: only what it refuses twice is a forgery.
      return first.outcome === 'rejected' ? answer(token, request) : first;
    },
  };
}

/** @throws TokenRefusal unless the module is known for it: whoever names that one has chosen it */
function admitLeak(module: string, log: HsmLog): void {
  if (moduleTraits(module).keepsUnextractable) {
    throw new TokenRefusal(
      'The PKCS#11 module gives out keys that must not leave it (CKA_EXTRACTABLE false); do not use it.',
    );
  }
  log('warn', 'hsm.keys-can-leave', {});
}

/** A step failed; `by` is the wrapping key it used, whose handle may be what is wrong. */
class StepFailure extends Error {
  readonly by: Wrapper | undefined;

  constructor(cause: unknown, by: Wrapper | undefined) {
    super('a PKCS#11 call failed', { cause });
    this.by = by;
  }
}

/** A handle of an older generation: its number may name another key by now. */
class StaleHandle extends Error {}

function step<Result>(by: Wrapper | undefined, call: () => Result): Result {
  try {
    return call();
  } catch (error) {
    throw new StepFailure(error, by);
  }
}

function answer(token: Token, request: KeyRequest): SlowAnswer {
  try {
    return perform(token, request);
  } catch (error) {
    if (error instanceof StaleHandle) return { outcome: 'stale' };
    if (error instanceof StepFailure) return failureAnswer(token, error, request.type === 'probe');
    return { outcome: 'device', returnValue: returnValue(error) ?? 0 };
  }
}

function perform(token: Token, request: KeyRequest): SlowAnswer {
  if (request.type === 'generate') return generate(token, request);
  if (request.type === 'import') return importValue(token, request);
  if (request.type === 'unwrap') return unwrap(token, request);
  if (request.type === 'rewrap') return rewrap(token, request);
  if (request.type === 'transport') return transport(token, request);
  if (request.type === 'receive') return receive(token, request);
  if (request.type === 'probe') step('root', () => token.wrapping.probeRoot());
  else destroy(token, request);
  return { outcome: 'done' };
}

function resolve(token: Token, wrapper: Wrapper): Handle {
  if (wrapper === 'root') return token.root;
  if (wrapper.generation !== token.generation) throw new StaleHandle();
  return Buffer.from(wrapper.handle);
}

/** Wraps a key that exists for this only, and destroys it. The blob may be all there is: it is tried first. */
function wrapTransit(
  token: Token,
  key: Handle,
  { by, under, kind }: { by: Handle; under: Wrapper; kind: KeyKind },
): SlowAnswer {
  const { wrapping } = token;
  try {
    const blob = step(under, () => {
      const wrapped = wrapping.wrap(by, key);
      wrapping.destroy(wrapping.unwrap(by, wrapped, transitTemplate(kind)));
      return wrapped;
    });
    return { outcome: 'blob', blob: new Uint8Array(blob) };
  } finally {
    token.wrapping.destroy(key);
  }
}

function generate(token: Token, { kind, under }: RequestOf<'generate'>): SlowAnswer {
  const { cryptoki, session } = token;
  const by = resolve(token, under);
  const mechanism = { mechanism: generateMechanism(kind) };
  const key = step(undefined, () => cryptoki.C_GenerateKey(session, mechanism, generateTemplate(kind)));
  return wrapTransit(token, key, { by, under, kind });
}

function importValue(token: Token, { kind, value, under }: RequestOf<'import'>): SlowAnswer {
  const { cryptoki, session } = token;
  const by = resolve(token, under);
  const copy = Buffer.from(value);
  try {
    const template = [...transitTemplate(kind), { type: pkcs11js.CKA_VALUE, value: copy }];
    const key = step(undefined, () => cryptoki.C_CreateObject(session, template));
    return wrapTransit(token, key, { by, under, kind });
  } finally {
    wipe(copy);
  }
}

function unwrap(token: Token, { kind, blob, under }: RequestOf<'unwrap'>): SlowAnswer {
  const by = resolve(token, under);
  const handle = step(under, () => token.wrapping.unwrap(by, blob, inUseTemplate(kind)));
  return { outcome: 'handle', handle: new Uint8Array(handle) };
}

function rewrap(token: Token, { kind, blob, under, to }: RequestOf<'rewrap'>): SlowAnswer {
  const [old, by] = [resolve(token, under), resolve(token, to)];
  const key = step(under, () => token.wrapping.unwrap(old, blob, transitTemplate(kind)));
  return wrapTransit(token, key, { by, under: to, kind });
}

function transport(token: Token, { kind, blob, under, publicKey }: RequestOf<'transport'>): SlowAnswer {
  const { cryptoki, session, wrapping } = token;
  const by = resolve(token, under);
  const key = step(under, () => wrapping.unwrap(by, blob, transitTemplate(kind)));
  try {
    const transported = step(undefined, () => wrapForTransport(cryptoki, session, { publicKey, key }));
    return { outcome: 'blob', blob: transported };
  } finally {
    wrapping.destroy(key);
  }
}

function receive(token: Token, { kind, transported }: RequestOf<'receive'>): SlowAnswer {
  const { cryptoki, session, root, rootId } = token;
  const template = transitTemplate(kind);
  const key = step(undefined, () => unwrapTransported(cryptoki, session, { rootId, transported, template }));
  return wrapTransit(token, key, { by: root, under: 'root', kind });
}

function destroy(token: Token, { keys }: RequestOf<'destroy'>): void {
  for (const { generation, handle } of keys) {
    if (generation === token.generation) token.wrapping.destroy(Buffer.from(handle));
  }
}

function failureAnswer(token: Token, { cause, by }: StepFailure, probing: boolean): SlowAnswer {
  const kind = failureKind(cause);
  if (probing || kind === 'device' || kind === 'session' || !token.wrapping.works(by)) {
    return { outcome: 'device', returnValue: returnValue(cause) ?? 0 };
  }
  return { outcome: kind === 'handle' ? 'stale' : 'rejected' };
}
