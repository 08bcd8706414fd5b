import { type Config, readConfig } from '../config.ts';
import { bootstrapTokenFile } from '../initialize.ts';
import { isSupervised } from '../processes/supervised.ts';
import { tokensFor, withTokens, workingToken } from '../second-token.ts';
import { openLog } from './log.ts';
import type { Surroundings } from './surroundings.ts';

/** Runs the service until it is told to stop: in this process, or in several under this one as their supervisor. */
export async function serve(surroundings: Surroundings): Promise<void> {
  if (isSupervised) return await (await import('./serve-supervised.ts')).serveSupervised(surroundings);
  const config = readConfig(surroundings.environment);
  if (config.processes > 1) await supervise(config, surroundings);
  else await serveAlone(config, surroundings);
}

async function serveAlone(config: Config, { adapters }: Surroundings): Promise<void> {
  const { startHere } = await import('./start-here.ts');
  const log = openLog(config.logLevel);
  const service = await startHere(config, withTokens(await adapters(), tokensFor(config, 1)), log);
  announce(service.listener.url, config);
  await firstOf('SIGTERM', 'SIGINT', 'SIGHUP');
  log.info('stopping: requests in progress are finished');
  await service.close();
  log.info('stopped');
  log.flush();
}

/** Room for what follows the requests: records are written, the HSM is left. */
const closeMs = 20_000;

async function supervise(config: Config, { adapters, exit }: Surroundings): Promise<void> {
  const { createSupervisor, supervisorDefaults } = await import('../processes/supervisor.ts');
  const { checkStart } = await import('../start-checks.ts');
  checkStart(config);
  // A PIN has one try: not one for each process.
  await workingToken(await adapters(), tokensFor(config, 1));
  const log = openLog(config.logLevel);
  const supervisor = createSupervisor({
    processes: config.processes,
    program: { exec: process.argv[1] ?? '', args: ['serve'] },
    listen: config.listen,
    limits: {
      ...supervisorDefaults,
      hungAfterMs: config.hungAfterMs,
      stopWithinMs: config.shutdownMs + closeMs,
    },
    log: (level, event, fields) => log[level](fields, event),
    onListening: (url) => announce(url, config),
  });
  const stop = (): void => {
    log.info('stopping: requests in progress are finished');
    supervisor.stop();
  };
  void firstOf('SIGTERM', 'SIGINT').then(stop);
  // A terminal that closes says so with the same signal.
  if (process.stdout.isTTY) void firstOf('SIGHUP').then(stop);
  else process.on('SIGHUP', () => supervisor.roll());
  process.on('exit', () => supervisor.kill());
  const inOrder = await supervisor.run();
  log.info('stopped');
  log.flush();
  if (!inOrder) exit(1);
}

/** Resolves with the first of these signals; the second ends the process at once. */
function firstOf(...signals: readonly NodeJS.Signals[]): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    for (const signal of signals) {
      process.on(signal, () => {
        if (stopping) process.exit(1);
        stopping = true;
        resolve();
      });
    }
  });
}

function announce(url: string, config: Config): void {
  console.log(`stathera listening on ${url}`);
  console.log(firstCalls(url, bootstrapTokenFile(config)));
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
