import type { KeyNeed } from './items.ts';
import type { Keyring, KeySlot, KeyVersion, PreparedKey } from './keyring.ts';

/** Where a keyring's keys come from: the HSM of the service, or what a client was handed. */
export interface KeySource {
  /** @param version by id or ordinal; undefined: what the key seals with now. @returns undefined: none that may be used */
  version(key: string, version: string | number | undefined): Promise<KeyVersion | undefined>;
  prepared(key: string, version: KeyVersion, slot: KeySlot): Promise<PreparedKey>;
}

/**
 * Gets ready what is needed. A version that there is not is left out, for values are written by anybody: what was sealed
 * by it does not open.
 * @throws what `source` throws, for the version that is sealed with now too
 */
export async function loadKeyring(needs: readonly KeyNeed[], source: KeySource): Promise<Keyring> {
  /** One object a version, by every name that was asked for. */
  const named = new Map<string, KeyVersion>();
  const byId = new Map<string, KeyVersion>();
  const keys = new Map<string, PreparedKey>();

  async function versionFor({ key, version: asked }: KeyNeed): Promise<KeyVersion | undefined> {
    const known = named.get(nameOf(key, asked));
    if (known) return known;
    const found = await source.version(key, asked);
    if (!found) return undefined;
    const one = byId.get(found.id) ?? found;
    byId.set(one.id, one);
    for (const name of [asked, one.id, one.ordinal]) named.set(nameOf(key, name), one);
    return one;
  }

  for (const need of needs) {
    const version = await versionFor(need);
    const name = version && preparedName(version, need.slot);
    if (version && name !== undefined && !keys.has(name))
      keys.set(name, await source.prepared(need.key, version, need.slot));
  }

  return {
    current: (key) => required(named.get(nameOf(key, undefined))),
    version: (key, version) => named.get(nameOf(key, version)),
    prepared: (version, slot) => required(keys.get(preparedName(version, slot))),
  };
}

function nameOf(key: string, version: string | number | undefined): string {
  return `${key}/${version ?? ''}`;
}

function preparedName({ id }: KeyVersion, slot: KeySlot): string {
  return `${id}/${slot.id}`;
}

function required<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new TypeError('the keyring lacks what was asked for');
  return value;
}
