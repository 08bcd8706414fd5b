/**
 * The child process of token administration: C_Initialize and C_Finalize belong to a process, and the
 * service's own may have the module open. It takes one request and sends one answer.
 */
import { once } from 'node:events';
import { returnValue } from './cryptoki.ts';
import { describeHere, inSession } from './describe.ts';
import { provisionHere } from './provision.ts';
import type { TokenAnswer, TokenRequest } from './token.ts';
import { TokenRefusal } from './token-refusal.ts';
import { transportKeyHere } from './transport-key.ts';

function answer(request: TokenRequest): TokenAnswer {
  try {
    if (request.type === 'provision') return { type: 'provisioned', token: provisionHere(request.settings) };
    if (request.type === 'transport-key')
      return { type: 'transport-key', key: transportKeyHere(request.settings) };
    if (request.type === 'check-pin') {
      inSession(request.settings, () => undefined);
      return { type: 'pin-taken' };
    }
    return { type: 'described', report: describeHere(request.settings) };
  } catch (error) {
    if (error instanceof TokenRefusal) return { type: 'refused', detail: error.message };
    return {
      type: 'failed',
      name: error instanceof Error ? error.name : 'unknown',
      returnValue: returnValue(error) ?? 0,
    };
  }
}

const [request] = (await once(process, 'message')) as TokenRequest[];
if (request !== undefined) process.send?.(answer(request), () => process.disconnect());
