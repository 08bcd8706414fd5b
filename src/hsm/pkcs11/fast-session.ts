import pkcs11js from 'pkcs11js';
import { wipe } from '../../core/bytes.ts';
import {
  type Cryptoki,
  type FailureKind,
  failureKind,
  type Handle,
  readOnlySession,
  returnValue,
} from './cryptoki.ts';
import { gcmAnswer, gcmCases, gcmMechanism } from './known-answers.ts';
import { knownKeyTemplate } from './objects.ts';
import { type BatchItem, mayRefuse, readBatch } from './packing.ts';

/** The fast lane's use of the token: one disposable session, and a known key on another to probe with. */
export interface FastSession {
  /** Runs every item of a batch and writes its outcome into the batch; never throws for an item. */
  run(batch: ArrayBuffer): void;
  /** Closes the sessions; errors of a token that is gone are of no interest. */
  close(): void;
}

const signMechanisms = {
  'hmac-256': { mechanism: pkcs11js.CKM_SHA256_HMAC },
  'hmac-384': { mechanism: pkcs11js.CKM_SHA384_HMAC },
  'hmac-512': { mechanism: pkcs11js.CKM_SHA512_HMAC },
  cmac: { mechanism: pkcs11js.CKM_AES_CMAC },
  ecdsa: { mechanism: pkcs11js.CKM_ECDSA },
  'rsa-pkcs1': { mechanism: pkcs11js.CKM_RSA_PKCS },
} as const;
const probeCase = gcmCases[1];

/**
 * Opens the lane's sessions and proves them with a known answer.
 * @param generation of the initialized module; items of any other are refused as `stale`
 * @param revoked true once nobody waits for this generation any more: its items are not even tried
 * @throws the module's error or KnownAnswerMismatch
 */
export function openFastSession(
  cryptoki: Cryptoki,
  slot: Handle,
  { generation, revoked }: { generation: number; revoked: () => boolean },
): FastSession {
  const disposable = openDisposableSession(cryptoki, slot);
  return {
    run(batch) {
      for (const item of readBatch(batch)) {
        if (revoked()) return;
        // Random bytes name no key, so no generation either.
        if (item.kind === 'random' || item.generation === generation) runItem(cryptoki, disposable, item);
        else item.settle('stale', 0);
      }
    },
    close: () => disposable.close(),
  };
}

interface DisposableSession {
  current(): Handle;
  /** An operation left active cannot be cancelled in v2.40: the session is what one throws away. */
  replace(): void;
  /** True when the device gives the known answer: the input was to blame. */
  deviceWorks(): boolean;
  close(): void;
}

function openDisposableSession(cryptoki: Cryptoki, slot: Handle): DisposableSession {
  // Objects die with the session that made them: the probe's key lives on one that never operates.
  const objectSession = cryptoki.C_OpenSession(slot, readOnlySession);
  const template = knownKeyTemplate('aes', probeCase.key, ['encrypt', 'decrypt']);
  const probeKey = cryptoki.C_CreateObject(objectSession, template);
  let session = cryptoki.C_OpenSession(slot, readOnlySession);
  const probe = (): void => gcmAnswer(cryptoki, session, probeKey, probeCase);
  probe();

  function closeSession(handle: Handle): void {
    try {
      cryptoki.C_CloseSession(handle);
    } catch {
      // It may be what failed. Opening the next, or finalizing the module, settles it.
    }
  }

  function replace(): void {
    closeSession(session);
    session = cryptoki.C_OpenSession(slot, readOnlySession);
  }

  return {
    current: () => session,
    replace,
    deviceWorks() {
      // The failed call may have left its operation active on this session: a second one decides.
      return succeeds(probe) || succeeds(() => [replace(), probe()]);
    },
    close() {
      closeSession(session);
      closeSession(objectSession);
    },
  };
}

function succeeds(work: () => unknown): boolean {
  try {
    work();
    return true;
  } catch {
    return false;
  }
}

/**
 * A device that works may still fail once, so only what it refuses twice is refused. A third try is for a
 * session that the first left with an active operation.
 */
const maxTries = 3;

function runItem(cryptoki: Cryptoki, session: DisposableSession, item: BatchItem): void {
  let [refusals, replace] = [0, false];
  for (let tries = 1; ; tries++) {
    try {
      if (replace) session.replace();
      item.settle('ok', perform(cryptoki, session.current(), item));
      return;
    } catch (error) {
      item.output.fill(0);
      const kind = failureKind(error);
      if (kind === 'unclear') refusals += 1;
      if (kind === 'device' || kind === 'handle' || refusals === 2 || tries === maxTries) {
        item.settle(judge(session, kind), returnValue(error) ?? 0);
        return;
      }
      // Decryption fails for cause, and opening a session for each forgery would be dear.
      replace = kind === 'session' || !mayRefuse(item.kind);
    }
  }
}

function judge(session: DisposableSession, kind: FailureKind): 'device' | 'stale' | 'rejected' {
  if (kind === 'device' || kind === 'session' || !session.deviceWorks()) return 'device';
  return kind === 'handle' ? 'stale' : 'rejected';
}

/** Runs one item. @returns output bytes. @throws the module's error */
function perform(cryptoki: Cryptoki, session: Handle, item: BatchItem): number {
  if (item.kind === 'encrypt') return encrypt(cryptoki, session, item);
  if (item.kind === 'decrypt') return decrypt(cryptoki, session, item, item.output);
  if (item.kind === 'reencrypt') return reencrypt(cryptoki, session, item);
  if (item.kind === 'random') return cryptoki.C_GenerateRandom(session, item.output).length;
  if (item.kind === 'rsa-decrypt') {
    cryptoki.C_DecryptInit(session, { mechanism: pkcs11js.CKM_RSA_X_509 }, item.handle);
    return cryptoki.C_Decrypt(session, item.data, item.output).length;
  }
  cryptoki.C_SignInit(session, signMechanism(item.kind, item.data), item.handle);
  return cryptoki.C_Sign(session, item.data, item.output).length;
}

function signMechanism(kind: keyof typeof signMechanisms | 'rsa-pss', data: Buffer): pkcs11js.Mechanism {
  return kind === 'rsa-pss' ? pssMechanism(data.length) : signMechanisms[kind];
}

/** RFC 8017 §9.1: the digest's hash is MGF1's, and its length the salt's. */
function pssMechanism(saltLen: number): pkcs11js.Mechanism {
  const [hashAlg, mgf] =
    saltLen === 32
      ? [pkcs11js.CKM_SHA256, pkcs11js.CKG_MGF1_SHA256]
      : saltLen === 48
        ? [pkcs11js.CKM_SHA384, pkcs11js.CKG_MGF1_SHA384]
        : [pkcs11js.CKM_SHA512, pkcs11js.CKG_MGF1_SHA512];
  const parameter = { type: pkcs11js.CK_PARAMS_RSA_PSS, hashAlg, mgf, saltLen };
  return { mechanism: pkcs11js.CKM_RSA_PKCS_PSS, parameter };
}

type Encryption = Pick<BatchItem, 'handle' | 'nonce' | 'aad' | 'data' | 'output'>;

function encrypt(cryptoki: Cryptoki, session: Handle, item: Encryption): number {
  cryptoki.C_EncryptInit(session, gcmMechanism(item.nonce, item.aad), item.handle);
  return cryptoki.C_Encrypt(session, item.data, item.output).length;
}

function decrypt(cryptoki: Cryptoki, session: Handle, item: BatchItem, output: Buffer): number {
  cryptoki.C_DecryptInit(session, gcmMechanism(item.nonce, item.aad), item.handle);
  return cryptoki.C_Decrypt(session, item.data, output).length;
}

function reencrypt(cryptoki: Cryptoki, session: Handle, item: BatchItem): number {
  const scratch = Buffer.alloc(item.data.length);
  try {
    const data = scratch.subarray(0, decrypt(cryptoki, session, item, scratch));
    if (
      data.length < item.zeroPrefixBytes ||
      data.subarray(0, item.zeroPrefixBytes).some((byte) => byte !== 0)
    ) {
      // Judged like a bad tag by whoever catches it.
      throw new Error('the plaintext does not begin as it must');
    }
    const { secondHandle: handle, secondNonce: nonce, secondAad: aad, output } = item;
    return encrypt(cryptoki, session, { handle, nonce, aad, data, output });
  } finally {
    wipe(scratch);
  }
}
