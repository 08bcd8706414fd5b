import type { Adapters } from './adapters.ts';
import type { Config, HsmConfig } from './config.ts';
import { isServiceError, ServiceError } from './core/errors.ts';
import type { Hsm } from './hsm/hsm.ts';

/*
 * A node with two tokens. A process has one of them, for a module is initialized once in a process: half of the
 * processes prefer the first, half the second. One whose token is away at its start takes the other; one that loses
 * its token asks for a process in its place, which does.
 */

/** A token that hangs must not keep a process from the other one. */
const answerWithinMs = 10_000;
/** Shorter absences heal in the process. */
const awayMs = 3_000;
const askAgainMs = 10_000;
const probeMs = 2_000;
const lookMs = 500;

/** The tokens of a node, in the order that the process of this number prefers. @param number from 1 */
export function tokensFor({ hsm, secondHsm }: Config, number: number): readonly HsmConfig[] {
  if (!secondHsm) return [hsm];
  return number % 2 === 1 ? [hsm, secondHsm] : [secondHsm, hsm];
}

/**
 * The first of the tokens that lets a process log in, tried in a process of its own.
 * @param onLeftOut is told of each before it
 * @throws ServiceError hsm/unavailable, of the first, when there is none
 */
export async function workingToken(
  adapters: Adapters,
  tokens: readonly HsmConfig[],
  onLeftOut: (token: HsmConfig, reason: string) => void = () => undefined,
): Promise<HsmConfig> {
  let refusal: ServiceError | undefined;
  for (const token of tokens) {
    const found = await refusalOf(adapters, token);
    if (!found) return token;
    onLeftOut(token, found.detail);
    refusal ??= found;
  }
  throw refusal ?? new TypeError('a node has a token');
}

async function refusalOf(adapters: Adapters, token: HsmConfig): Promise<ServiceError | undefined> {
  const silent = Promise.withResolvers<ServiceError>();
  const late = setTimeout(() => {
    silent.resolve(new ServiceError('hsm/unavailable', 'The HSM does not answer. Check the device.'));
  }, answerWithinMs);
  try {
    return await Promise.race([adapters.checkPin(token).then(() => undefined), silent.promise]);
  } catch (error) {
    if (isServiceError(error, 'hsm/unavailable')) return error;
    throw error;
  } finally {
    clearTimeout(late);
  }
}

/**
 * Adapters that open the first of the tokens that works, whatever token they are asked for.
 * @param onOpened is given it
 */
export function withTokens(
  adapters: Adapters,
  tokens: readonly HsmConfig[],
  onOpened: (hsm: Hsm) => void = () => undefined,
): Adapters {
  if (tokens.length === 1) return adapters;
  return {
    ...adapters,
    async openHsm(_first, note) {
      const token = await workingToken(adapters, tokens, ({ tokenLabel }, reason) =>
        note('warn', 'hsm.token-left-out', { tokenLabel, reason }),
      );
      const hsm = await adapters.openHsm(token, note);
      note('info', 'hsm.token', { tokenLabel: token.tokenLabel });
      onOpened(hsm);
      return hsm;
    },
  };
}

/**
 * Calls back when the token has been away for longer than a moment, and now and then while it is. Its root is tried,
 * for keys that are in the token already may go on working without it.
 */
export function watchToken(hsm: Hsm, onAway: () => void): void {
  let awaySince: number | undefined;
  let askedAt = Number.NEGATIVE_INFINITY;
  let probing = false;
  let probedAt = Number.NEGATIVE_INFINITY;
  const over = () => {
    probing = false;
  };
  setInterval(() => {
    const now = performance.now();
    if (!probing && now - probedAt >= probeMs) {
      probing = true;
      probedAt = now;
      hsm.probe().then(over, over);
    }
    awaySince = hsm.status().state === 'unavailable' ? (awaySince ?? now) : undefined;
    if (awaySince === undefined || now - awaySince < awayMs || now - askedAt < askAgainMs) return;
    askedAt = now;
    onAway();
  }, lookMs).unref();
}
