import type { Client } from '../../client/client.ts';
import type { KeyVersion } from '../../client/types.ts';
import type { Target } from './pages.ts';

export interface Versions {
  readonly keyId: string;
  readonly current: number;
  /** Newest first, when the run began. */
  readonly all: readonly KeyVersion[];
  readonly currentCreatedAt: number;
  readonly ordinalOf: Target['ordinalOf'];
  /** Every version whose ordinal was asked for and found, by id. */
  readonly known: ReadonlyMap<string, number>;
}

/** A key's versions. One that is made meanwhile is looked for when a row has it. */
export async function readVersions(client: Client, ref: string): Promise<Versions> {
  const key = await client.getKey({ key: ref });
  const all: KeyVersion[] = [];
  for await (const version of client.listKeyVersions.all({ key: key.id })) all.push(version);
  const known = new Map(all.map(({ id, version }) => [id, version]));
  const absent = new Set<string>();
  const current = all.find(({ version }) => version === key.currentVersion);
  let looking: Promise<void> | undefined;

  async function lookAgain(): Promise<void> {
    const { items } = await client.listKeyVersions({ key: key.id, limit: 1_000 });
    for (const { id, version } of items) known.set(id, version);
  }

  return {
    ...{ keyId: key.id, current: key.currentVersion, all, known },
    currentCreatedAt: Date.parse(current?.createdAt ?? key.updatedAt),
    async ordinalOf(versionId) {
      const ordinal = known.get(versionId);
      if (ordinal !== undefined || absent.has(versionId)) return ordinal;
      looking ??= lookAgain().finally(() => {
        looking = undefined;
      });
      await looking;
      // Ids that somebody made up must not fill the memory: then the service is asked more often.
      if (!known.has(versionId) && absent.size < 10_000) absent.add(versionId);
      return known.get(versionId);
    },
  };
}
