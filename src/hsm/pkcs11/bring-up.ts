import { ServiceError } from '../../core/errors.ts';
import type { FastReply } from './fast-worker.ts';
import type { Lanes } from './lanes.ts';
import type { HsmLog } from './settings.ts';
import type { SlowAnswer, TokenDescription } from './slow-protocol.ts';

const notWorking = 'The HSM does not work. Check the device and the log of its PKCS#11 module.';

/** What callers are told while the device is away, or `detail` where an operator can do something. */
export function unavailable(
  detail = 'The HSM is not available. The service is reconnecting to it.',
  retryAfterSeconds = 1,
): ServiceError {
  return new ServiceError('hsm/unavailable', detail, { retryAfterSeconds });
}

/** What a caller is told whose operation, with nothing to refuse in it, failed on a device that works. */
export function failedOnce(): ServiceError {
  return unavailable('The HSM failed in this operation. Try it again.');
}

/**
 * Initializes the module anew and logs in, as one generation of handles on both lanes.
 * @throws ServiceError hsm/unavailable that tells what to do
 */
export async function bringUp(
  { fast, slow, detachOthers }: ReturnType<Lanes['ensure']>,
  { module, generation }: { module: string; generation: number },
  log: HsmLog,
): Promise<TokenDescription> {
  // The fast lane's sessions go first: from here on only the slow lane calls into the module.
  await Promise.all([fast.control({ type: 'detach' }), detachOthers()]);
  const answer = await slow.call({ type: 'initialize', generation });
  if (answer.outcome !== 'token') throw initializeFailure(answer, log);
  const { token } = answer;
  const attached = await fast.control({ type: 'attach', module, slot: token.slot, generation });
  if (attached.type === 'failed') throw attachFailure(attached, log);
  return token;
}

function initializeFailure(answer: SlowAnswer, log: HsmLog): ServiceError {
  if (answer.outcome === 'refused') return unavailable(answer.detail);
  log('error', 'hsm.initialize-failed', {
    returnValue: answer.outcome === 'device' ? answer.returnValue : 0,
  });
  return unavailable(notWorking);
}

function attachFailure(
  { returnValue, knownAnswer }: Extract<FastReply, { type: 'failed' }>,
  log: HsmLog,
): ServiceError {
  log('error', 'hsm.attach-failed', { returnValue });
  if (knownAnswer === undefined) return unavailable(notWorking);
  return unavailable(`The token failed the known-answer test of ${knownAnswer}; it must not be used.`);
}
