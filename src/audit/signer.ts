import type { Prf } from '../crypto/kdf.ts';
import { groupMacInput, toHex } from './format.ts';

/** @returns the group's MAC in hex; null when the HSM did not give one in time. Never rejects. */
export type GroupSigner = (sequence: number, head: Uint8Array) => Promise<string | null>;

export interface SignerOptions {
  readonly mac: Prf;
  readonly writer: string;
  /** How long a group may wait for its MAC. */
  readonly waitMilliseconds: number;
}

const macBytes = 32;

/**
 * Asks the HSM for the MAC of a group, but never lets the log hang on it: a group without a MAC is covered
 * by the next one that has one. While a call is overdue no other is made, so a device that hangs costs one
 * wait and holds one call.
 */
export function createGroupSigner({ mac, writer, waitMilliseconds }: SignerOptions): GroupSigner {
  const givenUpMilliseconds = 10 * waitMilliseconds;
  let overdueSince: number | undefined;

  return async (sequence, head) => {
    if (overdueSince !== undefined && performance.now() - overdueSince < givenUpMilliseconds) return null;
    overdueSince = undefined;
    const asked = ask(mac, groupMacInput(writer, sequence, head));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, waitMilliseconds, 'late');
    });
    const answer = await Promise.race([asked, late]);
    clearTimeout(timer);
    if (answer !== 'late') return answer;
    const since = performance.now();
    overdueSince = since;
    void settled(asked, () => {
      if (overdueSince === since) overdueSince = undefined;
    });
    return null;
  };
}

async function settled(asked: Promise<unknown>, then: () => void): Promise<void> {
  await asked;
  then();
}

async function ask(mac: Prf, input: Uint8Array): Promise<string | null> {
  try {
    const tag = await mac(input);
    return tag.length === macBytes ? toHex(tag) : null;
  } catch {
    return null;
  }
}
