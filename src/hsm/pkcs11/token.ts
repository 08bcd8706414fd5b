import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ServiceError } from '../../core/errors.ts';
import { siblingModule } from '../../core/sibling-module.ts';
import type { TokenReport } from '../hsm.ts';
import type { Pkcs11Settings } from './settings.ts';

export type TokenSettings = Pick<
  Pkcs11Settings,
  'module' | 'tokenLabel' | 'pinFile' | 'softhsmConf' | 'wrapMechanism'
>;

export interface ProvisionedToken {
  readonly rootId: string;
  /** Whether this call made the root. */
  readonly created: boolean;
}

export interface TransportKey {
  readonly rootId: string;
  /** RSAPublicKey (RFC 8017 A.1.1) in DER. */
  readonly publicKey: Uint8Array;
}

export type TokenRequest = {
  readonly type: 'provision' | 'transport-key' | 'describe' | 'check-pin';
  readonly settings: TokenSettings;
};

export type TokenAnswer =
  | { readonly type: 'provisioned'; readonly token: ProvisionedToken }
  | { readonly type: 'transport-key'; readonly key: TransportKey }
  | { readonly type: 'described'; readonly report: TokenReport }
  | { readonly type: 'pin-taken' }
  | { readonly type: 'refused'; readonly detail: string }
  | { readonly type: 'failed'; readonly name: string; readonly returnValue: number };

const answerWithinMs = 60_000;

/**
 * Makes sure of the token and its root; with `softhsmConf` an absent token is made, with its PIN file. Does
 * nothing when all is there; killed at any point, the next call finishes. Never initializes a token that is
 * there, and spends at most one try of the PIN.
 * @throws ServiceError `hsm/unavailable` whose detail tells what to do
 */
export async function provisionToken(settings: TokenSettings): Promise<ProvisionedToken> {
  const answer = await ask('provision', settings);
  if (answer.type !== 'provisioned') throw refusal(answer);
  return answer.token;
}

/**
 * Makes sure of the key pair that this token is handed other tokens' keys by: RSA-4096, which takes seconds. Killed at
 * any point, the next call finishes. Spends at most one try of the PIN.
 * @throws ServiceError `hsm/unavailable` whose detail tells what to do
 */
export async function provisionTransportKey(settings: TokenSettings): Promise<TransportKey> {
  const answer = await ask('transport-key', settings);
  if (answer.type !== 'transport-key') throw refusal(answer);
  return answer.key;
}

/**
 * Reads module, token, mechanisms and the root's attributes from the token itself. Logs in, with at most
 * one try of the PIN.
 * @throws ServiceError `hsm/unavailable` whose detail tells what to do
 */
export async function describeToken(settings: TokenSettings): Promise<TokenReport> {
  const answer = await ask('describe', settings);
  if (answer.type !== 'described') throw refusal(answer);
  return answer.report;
}

/**
 * Logs in once, before several processes do: a refused PIN is recorded, and none of them tries it.
 * @throws ServiceError `hsm/unavailable` whose detail tells what to do
 */
export async function checkPin(settings: TokenSettings): Promise<void> {
  const answer = await ask('check-pin', settings);
  if (answer.type !== 'pin-taken') throw refusal(answer);
}

function refusal(answer: TokenAnswer): ServiceError {
  if (answer.type === 'refused') return new ServiceError('hsm/unavailable', answer.detail);
  const cause =
    answer.type === 'failed' ? new Error(`${answer.name}: return value ${answer.returnValue}`) : undefined;
  return new ServiceError(
    'hsm/unavailable',
    'The token could not be set up or read. Check the device and the log of its PKCS#11 module.',
    { cause },
  );
}

function ask(type: TokenRequest['type'], settings: TokenSettings): Promise<TokenAnswer> {
  const request: TokenRequest = { type, settings };
  // stderr stays free for the service's log; what goes wrong comes back as the answer.
  const child = fork(fileURLToPath(siblingModule(import.meta.url, 'token-process')), [], {
    execArgv: [],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    // Bytes stay bytes.
    serialization: 'advanced',
  });
  child.send(request);
  return answerOf(child);
}

function answerOf(child: ChildProcess): Promise<TokenAnswer> {
  return new Promise((resolve) => {
    let answer: TokenAnswer = {
      type: 'failed',
      name: 'the process of token administration ended',
      returnValue: 0,
    };
    const timer = setTimeout(() => child.kill('SIGKILL'), answerWithinMs);
    child.on('message', (message: TokenAnswer) => {
      answer = message;
    });
    child.on('error', () => undefined);
    child.on('close', () => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}
