import type { Logger } from 'pino';
import type { Adapters } from '../adapters.ts';
import type { Config } from '../config.ts';
import { startService } from '../service.ts';
import { keepMemory } from './memory.ts';
import { connectionsWithin } from './open-files.ts';

/** Starts the service in this process, within what the system allows it. */
export async function startHere(
  config: Config,
  adapters: Adapters,
  log: Logger,
  expose?: Parameters<typeof startService>[3],
): ReturnType<typeof startService> {
  if (!keepMemory()) log.warn('core dumps of this process would hold its memory: turn them off');
  const maxConnections = connectionsWithin(config.maxConnections);
  if (maxConnections < config.maxConnections) {
    log.warn({ maxConnections }, 'fewer connections than configured: raise the limit of open files');
  }
  return await startService({ ...config, maxConnections }, adapters, log, expose);
}
