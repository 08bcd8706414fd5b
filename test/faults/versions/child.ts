// Preloaded into the service (`--import`), this makes a newer version of it: the same source, with migrations that it
// does not have, and a column of keys that they bring. STATHERA_TEST_VERSION tells which.
import { registerHooks } from 'node:module';

const version = process.env['STATHERA_TEST_VERSION'];

/** What stands in the source of the newer version besides. */
const additions: Readonly<Record<string, (source: string) => string>> = {
  'src/store/migrations.ts': (source) => `${source}
    const newest = migrations.at(-1).number;
    migrations.push({
      number: newest + 1, name: 'steward', oldestCode: 1,
      up: (db, { text }) => db.schema.alterTable('keys').addColumn('steward', text).execute(),
    });
    if (${JSON.stringify(version)} === 'closing')
      migrations.push({ number: newest + 2, name: 'closing', oldestCode: newest + 1, up: async () => undefined });`,
  // A key whose description says so has a steward.
  'src/store/rows.ts': (source) => `${replaced(source, 'function createRowAuthenticator(', 'function older(')}
    const columns = Object.values(layouts.keys);
    layouts.keys[columns.length + 1] = [...columns.at(-1), 'steward'];
    const stewarded = (row) => ({ ...row, steward: /^of [a-z]+$/.test(row.description) ? row.description : null });
    export function createRowAuthenticator(mac) {
      const rows = older(mac);
      return { ...rows, seal: (table, row) => rows.seal(table, table === 'keys' ? stewarded(row) : row) };
    }`,
};

/** @throws where it is not there once: the newer version must be made another way then */
function replaced(source: string, from: string, to: string): string {
  if (source.split(from).length !== 2) throw new Error(`not there once: ${from}`);
  return source.replace(`export ${from}`, to);
}

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    const [, add] = Object.entries(additions).find(([file]) => url.endsWith(`/${file}`)) ?? [];
    if (!add) return loaded;
    const source = Buffer.from(loaded.source as Uint8Array).toString();
    return { ...loaded, source: add(source) };
  },
});
