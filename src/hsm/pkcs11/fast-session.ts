import pkcs11js from 'pkcs11js';
import { wipe } from '../../core/bytes.ts';
import { type Cryptoki, failureKind, type Handle, readOnlySession, returnValue } from './cryptoki.ts';
import { gcmAnswer, gcmCases, gcmMechanism } from './known-answers.ts';
import { knownKeyTemplate } from './objects.ts';
import { type BatchItem, readBatch } from './packing.ts';

/** The fast lane's use of the token: one disposable session, and a known key on another to probe with. */
export interface FastSession {
  /** Runs every item of a batch and writes its outcome into the batch; never throws for an item. */
  run(batch: ArrayBuffer): void;
  /** Closes the sessions; errors of a token that is gone are of no interest. */
  close(): void;
}

const hmacMechanism = { mechanism: pkcs11js.CKM_SHA256_HMAC };
const probeCase = gcmCases[1];

/**
 * Opens the lane's sessions and proves them with a known answer.
 * @param generation of the initialized module; items of any other are refused as `stale`
 * @throws the module's error or KnownAnswerMismatch
 */
export function openFastSession(cryptoki: Cryptoki, slot: Handle, generation: number): FastSession {
  // Objects die with the session that made them: the probe's key lives on one that never operates.
  const objectSession = cryptoki.C_OpenSession(slot, readOnlySession);
  const probeKey = cryptoki.C_CreateObject(
    objectSession,
    knownKeyTemplate('aes', probeCase.key, ['encrypt', 'decrypt']),
  );
  let session = cryptoki.C_OpenSession(slot, readOnlySession);
  gcmAnswer(cryptoki, session, probeKey, probeCase);

  /** An operation left active cannot be cancelled in v2.40: the session is what one throws away. */
  function replaceSession(): void {
    try {
      cryptoki.C_CloseSession(session);
    } catch {
      // It may be what failed; opening the next one tells whether the device works.
    }
    session = cryptoki.C_OpenSession(slot, readOnlySession);
  }

  /** True when the device gives the known answer: the input was to blame. */
  function deviceWorks(): boolean {
    try {
      gcmAnswer(cryptoki, session, probeKey, probeCase);
      return true;
    } catch {
      // The failed call may have left its operation active on this session.
    }
    try {
      replaceSession();
      gcmAnswer(cryptoki, session, probeKey, probeCase);
      return true;
    } catch {
      return false;
    }
  }

  function settleFailure(item: BatchItem, error: unknown): void {
    const code = returnValue(error) ?? 0;
    const kind = failureKind(error);
    if (kind === 'device' || !deviceWorks()) item.settle('device', code);
    else item.settle(kind === 'handle' ? 'stale' : 'rejected', code);
  }

  function runItem(item: BatchItem): void {
    if (item.kind !== 'random' && item.generation !== generation) {
      item.settle('stale', 0);
      return;
    }
    try {
      item.settle('ok', perform(cryptoki, session, item));
      return;
    } catch (error) {
      item.output.fill(0);
      // Inputs fail decryption for cause; encryption has none, so that one gets a second session too.
      if (failureKind(error) !== 'session' && (failureKind(error) !== 'unclear' || opens(item))) {
        settleFailure(item, error);
        return;
      }
    }
    try {
      replaceSession();
      item.settle('ok', perform(cryptoki, session, item));
    } catch (error) {
      item.output.fill(0);
      settleFailure(item, error);
    }
  }

  return {
    run(batch) {
      for (const item of readBatch(batch)) runItem(item);
    },
    close() {
      for (const handle of [session, objectSession]) {
        try {
          cryptoki.C_CloseSession(handle);
        } catch {
          // Finalizing the module, which follows, closes what is left.
        }
      }
    },
  };
}

function opens(item: BatchItem): boolean {
  return item.kind === 'decrypt' || item.kind === 'reencrypt';
}

/** Runs one item. @returns output bytes. @throws the module's error */
function perform(cryptoki: Cryptoki, session: Handle, item: BatchItem): number {
  switch (item.kind) {
    case 'encrypt':
      return encrypt(cryptoki, session, item.handle, item.nonce, item.aad, item.data, item.output);
    case 'decrypt':
      return decrypt(cryptoki, session, item, item.output);
    case 'reencrypt':
      return reencrypt(cryptoki, session, item);
    case 'mac':
      cryptoki.C_SignInit(session, hmacMechanism, item.handle);
      return cryptoki.C_Sign(session, item.data, item.output).length;
    case 'random':
      return cryptoki.C_GenerateRandom(session, item.output).length;
  }
}

function encrypt(
  cryptoki: Cryptoki,
  session: Handle,
  key: Handle,
  nonce: Buffer,
  aad: Buffer,
  data: Buffer,
  output: Buffer,
): number {
  cryptoki.C_EncryptInit(session, gcmMechanism(nonce, aad), key);
  return cryptoki.C_Encrypt(session, data, output).length;
}

function decrypt(cryptoki: Cryptoki, session: Handle, item: BatchItem, output: Buffer): number {
  cryptoki.C_DecryptInit(session, gcmMechanism(item.nonce, item.aad), item.handle);
  return cryptoki.C_Decrypt(session, item.data, output).length;
}

function reencrypt(cryptoki: Cryptoki, session: Handle, item: BatchItem): number {
  const scratch = Buffer.alloc(item.data.length);
  try {
    const plaintext = scratch.subarray(0, decrypt(cryptoki, session, item, scratch));
    const { secondHandle, secondNonce, secondAad, output } = item;
    return encrypt(cryptoki, session, secondHandle, secondNonce, secondAad, plaintext, output);
  } finally {
    wipe(scratch);
  }
}
