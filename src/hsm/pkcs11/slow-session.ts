import pkcs11js from 'pkcs11js';
import { equalBytes } from '../../core/bytes.ts';
import { type Cryptoki, failureKind, type Handle, readOnlySession, returnValue } from './cryptoki.ts';
import { tokenKnownAnswers, wrapAnswer, wrapAnswerKey } from './known-answers.ts';
import { findRoot, findSlot, logIn } from './login.ts';
import { generateMechanism, generateTemplate, inUseTemplate, transitTemplate } from './objects.ts';
import type { HsmLog } from './settings.ts';
import type {
  KeyHandle,
  SlowAnswer,
  SlowRequest,
  SlowSettings,
  TokenDescription,
  Wrapper,
} from './slow-protocol.ts';

type KeyRequest = Exclude<SlowRequest, { type: 'initialize' | 'finish' }>;

/** The slow lane's use of one initialized, logged-in token. */
export interface SlowSession {
  readonly token: TokenDescription;
  /** @throws nothing: every failure is an answer */
  answer(request: KeyRequest): SlowAnswer;
}

/** A blob of any key of ours: at most 32 bytes and one semiblock of AES-KWP; generous. */
const maxBlobBytes = 256;

/** A step failed; `by` is the wrapping key it used, whose handle may be what is wrong. */
class StepFailure extends Error {
  readonly by: Wrapper | undefined;

  constructor(cause: unknown, by: Wrapper | undefined) {
    super('a PKCS#11 call failed', { cause });
    this.by = by;
  }
}

function step<Result>(by: Wrapper | undefined, call: () => Result): Result {
  try {
    return call();
  } catch (error) {
    throw new StepFailure(error, by);
  }
}

/** A handle of an older generation: its number may name another key by now. */
class StaleHandle extends Error {}

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
  const slot = findSlot(cryptoki, settings.tokenLabel);
  const info = cryptoki.C_GetTokenInfo(slot);
  const session = cryptoki.C_OpenSession(slot, readOnlySession);
  logIn(cryptoki, session, settings.pinFile, log);
  tokenKnownAnswers(cryptoki, session, settings.wrapMechanism);
  const { root, rootId } = findRoot(cryptoki, session);
  const mechanism = { mechanism: settings.wrapMechanism };

  function wrap(by: Handle, key: Handle): Buffer {
    return cryptoki.C_WrapKey(session, mechanism, by, key, Buffer.alloc(maxBlobBytes));
  }
  function unwrap(by: Handle, blob: Uint8Array, template: pkcs11js.Template): Handle {
    return cryptoki.C_UnwrapKey(session, mechanism, by, Buffer.from(blob), template);
  }

  const probeKek = wrapAnswerKey(cryptoki, session);
  const rootProbe = wrap(root, probeKek);

  function probeRoot(): void {
    // AES-KWP is deterministic: the root, if it is the same and works, wraps to the same bytes.
    if (!equalBytes(wrap(root, probeKek), rootProbe)) throw new Error('the root gave another answer');
    cryptoki.C_DestroyObject(session, unwrap(root, rootProbe, transitTemplate('hmac-256')));
  }

  function proves(by: Wrapper | undefined): boolean {
    try {
      wrapAnswer(cryptoki, session, probeKek, settings.wrapMechanism);
      if (by === 'root') probeRoot();
      return true;
    } catch {
      return false;
    }
  }

  function resolve(wrapper: Wrapper): Handle {
    if (wrapper === 'root') return root;
    if (wrapper.generation !== generation) throw new StaleHandle();
    return Buffer.from(wrapper.handle);
  }

  function destroy(key: KeyHandle): void {
    if (key.generation !== generation) return;
    try {
      cryptoki.C_DestroyObject(session, Buffer.from(key.handle));
    } catch (error) {
      // An object that is gone already is what was asked for; the others must not be left for its sake.
      if (failureKind(error) !== 'handle') throw error;
    }
  }

  function withTransit<Result>(key: Handle, use: (key: Handle) => Result): Result {
    try {
      return use(key);
    } finally {
      step(undefined, () => cryptoki.C_DestroyObject(session, key));
    }
  }

  function perform(request: KeyRequest): SlowAnswer {
    switch (request.type) {
      case 'generate': {
        const by = resolve(request.under);
        const template = generateTemplate(request.kind);
        const how = { mechanism: generateMechanism(request.kind) };
        const made = step(undefined, () => cryptoki.C_GenerateKey(session, how, template));
        const blob = withTransit(made, (key) => step(request.under, () => wrap(by, key)));
        return { outcome: 'blob', blob: new Uint8Array(blob) };
      }
      case 'unwrap': {
        const by = resolve(request.under);
        const handle = step(request.under, () => unwrap(by, request.blob, inUseTemplate(request.kind)));
        return { outcome: 'handle', handle: new Uint8Array(handle) };
      }
      case 'rewrap': {
        const [by, to] = [resolve(request.under), resolve(request.to)];
        const old = step(request.under, () => unwrap(by, request.blob, transitTemplate(request.kind)));
        const blob = withTransit(old, (key) => step(request.to, () => wrap(to, key)));
        return { outcome: 'blob', blob: new Uint8Array(blob) };
      }
      case 'destroy':
        for (const key of request.keys) destroy(key);
        return { outcome: 'done' };
      case 'probe':
        step('root', probeRoot);
        return { outcome: 'done' };
    }
  }

  function failureAnswer(failure: StepFailure, probing: boolean): SlowAnswer {
    const { cause, by } = failure;
    const kind = failureKind(cause);
    const deviceFails = probing || kind === 'device' || kind === 'session' || !proves(by);
    if (deviceFails) return { outcome: 'device', returnValue: returnValue(cause) ?? 0 };
    return { outcome: kind === 'handle' ? 'stale' : 'rejected' };
  }

  return {
    token: {
      rootId,
      slot: new Uint8Array(slot),
      manufacturer: info.manufacturerID.trimEnd(),
      model: info.model.trimEnd(),
    },
    answer(request) {
      try {
        return perform(request);
      } catch (error) {
        if (error instanceof StaleHandle) return { outcome: 'stale' };
        if (error instanceof StepFailure) return failureAnswer(error, request.type === 'probe');
        return { outcome: 'device', returnValue: returnValue(error) ?? 0 };
      }
    },
  };
}
