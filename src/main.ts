#!/usr/bin/env node
import type { Adapters } from './adapters.ts';
import { keepMemory } from './cli/memory.ts';
import { runCommandLine } from './cli/program.ts';

/** The one place that names the adapters. They are loaded by the commands that need them: most do not. */
async function loadAdapters(): Promise<Adapters> {
  const [clock, hsm, token] = await Promise.all([
    import('./core/clock.ts'),
    import('./hsm/pkcs11/adapter.ts'),
    import('./hsm/pkcs11/token.ts'),
  ]);
  return {
    clock: clock.systemClock,
    openHsm: (settings, note) => hsm.openPkcs11Hsm(settings, { log: note }),
    checkPin: token.checkPin,
    provisionToken: token.provisionToken,
    provisionTransportKey: token.provisionTransportKey,
    describeToken: token.describeToken,
    async openStore(database, { readonly = false } = {}) {
      if (database.kind === 'sqlite') {
        const { openSqliteStore } = await import('./store/sqlite.ts');
        return openSqliteStore({ file: database.file, readonly });
      }
      const { openPostgresStore } = await import('./store/postgres.ts');
      return await openPostgresStore({ ...database, readonly });
    },
  };
}

// Whatever the service makes is its owner's alone, and what it has in memory is its own.
process.umask(0o077);
keepMemory();
process.exitCode = await runCommandLine(process.argv, process.env, loadAdapters);
