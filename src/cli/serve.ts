import { pino } from 'pino';
import { readConfig } from '../config.ts';
import { bootstrapTokenFile } from '../initialize.ts';
import { startService } from '../service.ts';
import { keepMemory } from './memory.ts';
import { connectionsWithin } from './open-files.ts';
import type { Surroundings } from './surroundings.ts';

/** Runs the service until it is told to stop. */
export async function serve({ environment, adapters }: Surroundings): Promise<void> {
  const config = readConfig(environment);
  // stdout is for people and scripts that wait for the address; logs go to stderr.
  const log = pino(
    { level: config.logLevel, base: { pid: process.pid } },
    pino.destination({ dest: 2, sync: false, minLength: 0 }),
  );
  if (!keepMemory()) log.warn('core dumps of this process would hold its memory: turn them off');
  const maxConnections = connectionsWithin(config.maxConnections);
  if (maxConnections < config.maxConnections) {
    log.warn({ maxConnections }, 'fewer connections than configured: raise the limit of open files');
  }
  const service = await startService({ ...config, maxConnections }, await adapters(), log);
  console.log(`stathera listening on ${service.listener.url}`);
  console.log(firstCalls(service.listener.url, bootstrapTokenFile(config)));
  await untilStopped();
  log.info('stopping: requests in progress are finished');
  await service.close();
  log.info('stopped');
  log.flush();
}

/** The first SIGTERM or SIGINT stops in order, the second at once. */
function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (stopping) process.exit(1);
        stopping = true;
        resolve();
      });
    }
  });
}

function firstCalls(url: string, tokenFile: string): string {
  return `
First calls to paste (the interface is described at ${url}/docs):

  export STATHERA_URL=${url} STATHERA_TOKEN_FILE=${tokenFile}
  call() { printf 'header = "Authorization: Bearer %s"\\n' "$(cat "$STATHERA_TOKEN_FILE")" | curl -sS -K - -H 'Content-Type: application/json' "$@"; echo; }

  call "$STATHERA_URL/v1/keys" -d '{"name":"payments"}'
  call "$STATHERA_URL/v1/keys/payments/encrypt" -d '{"plaintext":"aGVsbG8=","context":{"table":"users","row":"42"}}'
  call "$STATHERA_URL/v1/decrypt" -d '{"ciphertext":"…","context":{"table":"users","row":"42"}}'
  call "$STATHERA_URL/v1/keys/payments/rotate" -d '{}'
  call "$STATHERA_URL/v1/audit/records?limit=5"
`;
}
