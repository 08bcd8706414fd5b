#!/usr/bin/env node
import type { Adapters } from './adapters.ts';
import { keepMemory } from './cli/memory.ts';
import { runCommandLine } from './cli/program.ts';
import { systemClock } from './core/clock.ts';
import { openPkcs11Hsm } from './hsm/pkcs11/adapter.ts';
import { describeToken, provisionToken } from './hsm/pkcs11/token.ts';
import { openSqliteStore } from './store/sqlite.ts';

/** The one place that names the adapters. */
const adapters: Adapters = {
  clock: systemClock,
  openHsm: (settings, note) => openPkcs11Hsm(settings, { log: note }),
  provisionToken,
  describeToken,
  openStore: openSqliteStore,
};

// Whatever the service makes is its owner's alone, and what it has in memory is its own.
process.umask(0o077);
keepMemory();
process.exitCode = await runCommandLine(process.argv, process.env, adapters);
