import { wipe } from '../core/bytes.ts';
import type { Hsm } from '../hsm/hsm.ts';
import { versionIdBytes } from '../keys/key.ts';
import { makeSeedBlob, openSeed, type SeedOwner, splitSeedBlob } from '../keys/sealed-seed.ts';
import type { SystemKeys } from '../keys/system-keys.ts';
import type { WebhookRow } from '../store/event-rows.ts';

/** Of the secret that a webhook's messages are signed by. */
const secretBytes = 32;

/** Secrets of webhooks: random from the HSM, kept sealed by a key of their own in it. */
export interface WebhookSecrets {
  /** @returns the columns of the row, and the secret, for the caller to show once and wipe */
  make(
    ids: WebhookIds,
  ): Promise<{ readonly kekId: string; readonly blob: Uint8Array; readonly secret: Uint8Array }>;
  /** The secret while `work` runs. @param row authenticated */
  use<T>(row: WebhookRow, work: (secret: Uint8Array) => Promise<T>): Promise<T>;
}

interface WebhookIds {
  readonly id: string;
  readonly namespaceId: string;
}

export function createWebhookSecrets({
  hsm,
  systemKeys,
}: {
  hsm: Hsm;
  systemKeys: SystemKeys;
}): WebhookSecrets {
  return {
    async make(ids) {
      const kek = await systemKeys.activeKek(ids.namespaceId);
      const secret = await hsm.random(secretBytes);
      // What is drawn is wiped once it is sealed.
      const draw = async () => Uint8Array.from(secret);
      const { blob } = await makeSeedBlob(hsm, { id: ids.id, kek, owner: ownerOf(ids) }, { draw });
      return { kekId: kek.id, blob, secret };
    },
    async use(row, work) {
      const { wrappedKey, sealedSeed } = splitSeedBlob(row.blob, secretBytes);
      const under = await systemKeys.kek(row.kek_id);
      const ref = { id: row.id, kind: 'aes-256' as const, blob: wrappedKey, under };
      const owner = ownerOf({ id: row.id, namespaceId: row.namespace_id });
      const secret = await openSeed(hsm, { ...owner, ref, sealedSeed });
      try {
        return await work(secret);
      } finally {
        wipe(secret);
      }
    },
  };
}

/** A secret opens for this webhook of this namespace. */
function ownerOf({ id, namespaceId }: WebhookIds): SeedOwner {
  return {
    idBytes: versionIdBytes({ id, keyId: id, namespaceId }),
    suite: { name: 'webhook', keyBytes: secretBytes },
  };
}
