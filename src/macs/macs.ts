import type { Caller, Principal } from '../access/caller.ts';
import type { Operations } from '../access/operations.ts';
import type { AuditTarget } from '../audit/entry.ts';
import { equalBytes, wipe } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import type { MacSuite } from '../crypto/suites.ts';
import type { Hsm } from '../hsm/hsm.ts';
import { type MacVersion, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';

export interface GenerateMacRequest {
  readonly key: string;
  /** Up to 65,536 bytes. */
  readonly message: Uint8Array;
  /** Of the MAC: half of the algorithm's to all of them. Default: all. */
  readonly bytes?: number | undefined;
}

export interface VerifyMacRequest extends GenerateMacRequest {
  /** Ordinal; default: the current version. MACs do not name it. */
  readonly version?: number | undefined;
  readonly mac: Uint8Array;
}

interface Made {
  readonly keyId: string;
  readonly keyVersion: number;
}

export interface Mac extends Made {
  readonly mac: Uint8Array;
}

export interface VerifiedMac extends Made {
  readonly valid: true;
}

/** What single operations and items of a batch have in common: recording is up to whoever calls. */
export interface MacWork {
  generateMac(
    principal: Principal,
    request: GenerateMacRequest,
    note: (target: AuditTarget) => void,
  ): Promise<Mac>;
  verifyMac(
    principal: Principal,
    request: VerifyMacRequest,
    note: (target: AuditTarget) => void,
  ): Promise<VerifiedMac>;
}

/**
 * Message authentication by keys in the HSM. Each operation is authorized, and recorded before its answer. Both throw
 * key/not-found, key/wrong-purpose, key/disabled, key/version-disabled, and request/invalid for a length of MACs that
 * the key's algorithm does not have.
 */
export interface Macs {
  /** @see FIPS 198-1, NIST SP 800-38B */
  generate(caller: Caller, request: GenerateMacRequest): Promise<Mac>;
  /**
   * Answers only when the MAC is the message's, compared in constant time.
   * @throws mac/invalid for every other one, of whatever length
   */
  verify(caller: Caller, request: VerifyMacRequest): Promise<VerifiedMac>;
}

export function createMacWork({ keys, hsm }: { keys: Keys; hsm: Hsm }): MacWork {
  async function macOf({ ref }: MacVersion, message: Uint8Array, bytes: number): Promise<Uint8Array> {
    return (await hsm.mac(ref, message)).subarray(0, bytes);
  }

  return {
    async generateMac(principal, { key: ref, message, bytes }, note) {
      const key = await keys.find(principal, ref);
      note(targetOf(key));
      const version = await keys.authenticating(key, 'make');
      note({ ...targetOf(key), version: version.ordinal });
      const mac = await macOf(version, message, lengthFor(version.suite, bytes));
      keys.touch(version);
      return { mac, keyId: key.id, keyVersion: version.ordinal };
    },

    async verifyMac(principal, { key: ref, message, mac, bytes, version: ordinal }, note) {
      const key = await keys.find(principal, ref);
      note(targetOf(key));
      const version = await keys.authenticating(key, 'open', ordinal);
      note({ ...targetOf(key), version: version.ordinal });
      const expected = await macOf(version, message, lengthFor(version.suite, bytes));
      const valid = equalBytes(mac, expected);
      // The MAC of a message that somebody else could not make.
      wipe(expected);
      if (!valid) throw new ServiceError('mac/invalid', 'The MAC is not valid for this message and key.');
      keys.touch(version);
      return { valid: true, keyId: key.id, keyVersion: version.ordinal };
    },
  };
}

export function createMacs({ operations, work }: { operations: Operations; work: MacWork }): Macs {
  return {
    generate: (caller, request) =>
      operations.run(caller, 'mac.generate', { kind: 'key', name: request.key }, ({ target }) =>
        work.generateMac(caller.principal, request, target),
      ),
    verify: (caller, request) =>
      operations.run(caller, 'mac.verify', { kind: 'key', name: request.key }, ({ target }) =>
        work.verifyMac(caller.principal, request, target),
      ),
  };
}

/**
 * Half of a MAC at least: of the hash for HMAC, and never below 80 bits (RFC 2104 §5); 64 bits for CMAC (SP 800-38B
 * Appendix A). A verifier names the length, so that nobody can choose a shorter MAC for it (SP 800-107 r1 §5.3.3).
 * @throws request/invalid
 */
function lengthFor({ macBytes }: MacSuite, bytes = macBytes): number {
  const least = macBytes / 2;
  if (bytes >= least && bytes <= macBytes) return bytes;
  throw new ServiceError('request/invalid', 'The key has no MACs of this length.', {
    errors: [{ pointer: '/bytes', detail: `must be ${least} to ${macBytes} for this key` }],
  });
}
