import { readConfig } from '../config.ts';
import { joinSupervisor } from '../processes/supervised.ts';
import { tokensFor, watchToken, withTokens } from '../second-token.ts';
import { explain } from './explain.ts';
import { openLog } from './log.ts';
import { startHere } from './start-here.ts';
import type { Surroundings } from './surroundings.ts';

/** Runs the service as one of several processes until the supervisor tells it to stop. */
export async function serveSupervised({ environment, adapters, exit }: Surroundings): Promise<void> {
  const supervisor = await joinSupervisor();
  try {
    const config = readConfig(environment);
    const log = openLog(config.logLevel, supervisor.number);
    const listen = { ...config.listen, port: supervisor.port };
    const tokens = withTokens(await adapters(), tokensFor(config, supervisor.number), (hsm) =>
      watchToken(hsm, () => supervisor.replace()),
    );
    const service = await startHere({ ...config, listen }, tokens, log, (metrics) => {
      supervisor.measure(() => metrics.read());
      return () => supervisor.page();
    });
    supervisor.listening(service.listener.url);
    const manner = await supervisor.stop;
    log.info('stopping: requests in progress are finished');
    await service.close({ unnoticed: manner === 'unnoticed' });
    log.info('stopped');
    log.flush();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    supervisor.failed({
      text: explain(error, environment),
      ...(typeof code === 'string' && { code }),
    });
    exit(1);
  }
  await supervisor.leave();
}
