import type { Adapters } from './adapters.ts';
import type { Config } from './config.ts';
import type { Prf } from './crypto/kdf.ts';
import { openSystemKeys } from './keys/system-keys.ts';
import type { Store } from './store/store.ts';

/** Logs in to the token for as long as `work` needs the audit key's HMAC, e.g. to check a log's MACs. */
export async function withAuditMac<T>(
  { config, adapters, store }: { config: Config; adapters: Adapters; store: Store },
  work: (mac: Prf) => Promise<T>,
): Promise<T> {
  const hsm = await adapters.openHsm(config.hsm, () => undefined);
  try {
    const systemKeys = await openSystemKeys({ hsm, store });
    return await work((data) => hsm.mac(systemKeys.audit, data));
  } finally {
    await hsm.close();
  }
}
