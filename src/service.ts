import { join } from 'node:path';
import type { Logger } from 'pino';
import { createAuthenticator } from './access/authenticate.ts';
import type { Caller } from './access/caller.ts';
import { createNamespaces } from './access/namespaces.ts';
import { authorize, createOperations } from './access/operations.ts';
import { createTokens } from './access/tokens.ts';
import type { Adapters, Note } from './adapters.ts';
import { createAggregation } from './aggregate/aggregate.ts';
import { allRoutes } from './app.ts';
import { openAuditLog } from './audit/log.ts';
import type { Config } from './config.ts';
import { isServiceError, ServiceError } from './core/errors.ts';
import { createMetrics, type Metrics } from './core/metrics.ts';
import { createCoverage } from './coverage/coverage.ts';
import { mlKemSource } from './crypto/kem/ml-kem.ts';
import { createDecryption } from './decryption/decryption.ts';
import { createEnvelopes } from './envelope/envelope.ts';
import { createEvents } from './events/events.ts';
import { createExchanges } from './exchange/exchange.ts';
import { createSealings } from './exchange/sealing.ts';
import { createFieldKeys } from './fields/field-keys.ts';
import { createFields } from './fields/fields.ts';
import { createSchemas } from './fields/schemas.ts';
import type { Hsm } from './hsm/hsm.ts';
import { type Listener, listen } from './http/listen.ts';
import { steadyReadiness } from './http/readiness.ts';
import { createHttpApp } from './http/server.ts';
import { createImports } from './importing/importing.ts';
import { createWrappingKeys } from './importing/wrapping-keys.ts';
import { housekeeping } from './jobs/housekeeping.ts';
import { createJobs } from './jobs/jobs.ts';
import { createKeys } from './keys/keys.ts';
import { createPublicKeys } from './keys/public-keys.ts';
import { makeSystemKey, openSystemKeys, type SystemKeys, storeSystemKey } from './keys/system-keys.ts';
import { createLifecycle } from './lifecycle/lifecycle.ts';
import { createMacs, createMacWork } from './macs/macs.ts';
import { exposeParts } from './measurements.ts';
import { createReadiness } from './readiness.ts';
import { createRotationHooks } from './rotation/hooks.ts';
import { composeRotation } from './rotation/part.ts';
import { createSigning } from './signing/signing.ts';
import { createThreads } from './signing/threads.ts';
import { createSigningWork } from './signing/work.ts';
import { checkStart } from './start-checks.ts';
import { migrate } from './store/migrations.ts';
import { createRevision } from './store/revision.ts';
import { schemaCheck } from './store/schema-check.ts';
import type { Store } from './store/store.ts';
import { version } from './version.ts';

export interface Service {
  readonly listener: Listener;
  /**
   * Drains, then closes everything in the order of dependence.
   * @param options `unnoticed`: another process takes what comes; no client's connection is cut while it may be used
   */
  close(options?: { readonly unnoticed?: boolean }): Promise<void>;
}

/** What `GET /metrics` answers. @throws service/overloaded */
export type Exposition = () => Promise<string>;

const flushMilliseconds = 60_000;

/**
 * Composes and starts the service over its adapters.
 * @param expose makes the page of measurements from those of this process; default its text
 * @throws ServiceError or Error whose text tells an operator what to do
 */
export async function startService(
  config: Config,
  adapters: Adapters,
  log: Logger,
  expose: (metrics: Metrics) => Exposition = (metrics) => async () => metrics.text(),
): Promise<Service> {
  checkStart(config);
  const note: Note = (level, event, fields) => log[level](fields, event);
  const closers: (() => Promise<void>)[] = [];
  // What cannot be closed must not keep the rest open, nor hide why the start failed.
  let unnoticed = false;
  const close: Service['close'] = async (options = {}) => {
    unnoticed = options.unnoticed ?? false;
    for (const closer of closers.splice(0).toReversed()) {
      await closer().catch((error: unknown) =>
        log.error({ code: codeOf(error) }, 'a part was not closed in order'),
      );
    }
  };
  try {
    const hsm = await adapters.openHsm(config.hsm, note);
    closers.push(() => hsm.close());
    const store = await adapters.openStore(config.database);
    closers.push(() => store.close());
    await migrate(store.db, store.dialect, adapters.clock.now());
    const parts = await composeParts({ config, adapters, log, note, expose, hsm, store, closers });
    closers.push(() => parts.keys.close());
    closers.push(() => parts.threads.close());
    let settling = settle(parts.systemKeys, log);
    const flusher = setInterval(() => {
      settling = settle(parts.systemKeys, log);
      parts.keys
        .flush()
        .catch((error: unknown) => log.warn({ code: codeOf(error) }, 'last uses were not written'));
      parts.imports
        .sweep()
        .catch((error: unknown) => log.warn({ code: codeOf(error) }, 'expired imports were not deleted'));
      parts.aggregation
        .sweep()
        .catch((error: unknown) => log.warn({ code: codeOf(error) }, 'an epoch was not shredded'));
    }, flushMilliseconds);
    closers.push(async () => {
      clearInterval(flusher);
      await settling;
    });
    closers.push(() => parts.jobs.close());
    closers.push(() => parts.lifecycle.close());
    closers.push(() => parts.scheduler.close());
    closers.push(() => parts.events.close());
    const listener = await listen(parts.app, {
      ...config.listen,
      ...(config.tls && { tls: config.tls }),
      allowCleartext: config.allowCleartext,
      limits: { maxConnections: config.maxConnections },
    });
    closers.push(() => listener.close(config.shutdownMs, { unnoticed }));
    closers.push(async () => parts.events.endStreams());
    parts.jobs.start();
    parts.lifecycle.start();
    parts.scheduler.start();
    parts.events.start();
    return { listener, close };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Foundation {
  readonly config: Config;
  readonly adapters: Adapters;
  readonly log: Logger;
  readonly note: Note;
  readonly expose: (metrics: Metrics) => Exposition;
  readonly hsm: Hsm;
  readonly store: Store;
  readonly closers: (() => Promise<void>)[];
}

async function composeParts({ config, adapters, log, note, expose, hsm, store, closers }: Foundation) {
  const { clock } = adapters;
  const systemKeys = await openSystemKeys({ hsm, store });
  const { rows } = systemKeys;
  const revision = createRevision({
    feed: await store.changes.follow(),
    clock,
    maxStaleMilliseconds: config.maxStaleMs,
    checkSchema: schemaCheck(store, (reason) => note('error', 'store.closed', { reason })),
  });
  closers.push(() => revision.close());
  const audit = await openAuditLog({
    directory: join(config.dataDir, 'audit'),
    store,
    mac: (data) => hsm.mac(systemKeys.audit, data),
    clock,
    sync: () => revision.sync(),
    log: note,
  });
  closers.push(() => audit.close());
  const authenticator = createAuthenticator({ store, rows, clock });
  revision.onTouched(authenticator.forget);
  const { confirm } = authenticator;
  const operations = createOperations({ audit, store, clock, revision, confirm });
  const tokens = createTokens({ store, rows, clock, operations });
  const namespaces = createNamespaces({
    ...{ store, rows, clock, operations, region: config.region },
    provision: async (namespaceId) =>
      await storeSystemKey(
        rows,
        await makeSystemKey({ hsm, clock, purpose: 'kek', namespaceId }),
        systemKeys.handover,
      ),
  });
  const events = createEvents({
    ...{ store, hsm, systemKeys, operations, revision, clock, log: note, config: config.events },
  });
  const { emit } = events;
  const keys = createKeys({
    ...{ store, hsm, systemKeys, operations, clock, revision },
    hooks: createRotationHooks({ store, rows, clock, onRotation: emit }),
    onRotationFailed: (error) =>
      log.error({ code: codeOf(error) }, 'a rotation forced by the usage limit failed'),
  });
  const macWork = createMacWork({ keys, hsm });
  const threads = createThreads();
  const signingWork = createSigningWork({ keys, hsm, threads });
  const macs = createMacs({ operations, work: macWork });
  const envelopes = createEnvelopes({ operations, keys, hsm, macWork, signingWork });
  const wrappingKeys = createWrappingKeys({
    ...{ hsm, store, systemKeys, clock },
    onFailed: (error) => log.warn({ code: codeOf(error) }, 'no key pair for imports was made ahead'),
  });
  const imports = createImports({ keys, store, systemKeys, clock, wrappingKeys });
  const exchanges = createExchanges({ keys, hsm });
  const sealings = createSealings({ keys, hsm });
  const signing = createSigning({ operations, keys, work: signingWork });
  if (mlKemSource !== 'node:crypto')
    log.warn({ mlKemSource }, 'this Node has no ML-KEM: a slower one in JavaScript is used');
  const metrics = createMetrics();
  exposeParts(metrics, { hsm, audit, revision });
  const page = expose(metrics);
  const rotation = composeRotation({
    ...{ store, rows, clock, operations, audit, revision, keys, metrics, log: note },
    ...{ limits: config.rotation, onRotation: emit },
  });
  const { concurrency, retentionMilliseconds } = config.jobs;
  const aggregation = createAggregation({ hsm, store, systemKeys, operations, clock });
  const jobs = createJobs({
    ...{ store, rows, clock, operations, audit, metrics, log: note, limits: { concurrency } },
    kinds: [
      ...[housekeeping({ store, clock, retentionMilliseconds }), events.housekeeping],
      ...[...rotation.kinds, ...aggregation.kinds],
    ],
  });
  const coverage = createCoverage({ store, rows, keys, clock, emit });
  const fieldSchemas = createSchemas({ store, rows, clock, operations, keys, revision });
  const fieldKeys = createFieldKeys({ keys, hsm, revision });
  const fields = createFields({ operations, keys, schemas: fieldSchemas, fieldKeys });
  const lifecycle = createLifecycle({
    ...{ keys, store, hsm, systemKeys, clock, coverage, emit, limits: config.lifecycle, log: note },
  });
  const app = createHttpApp({
    routes: allRoutes({
      ...{
        events,
        lifecycle,
        keys,
        publicKeys: createPublicKeys(keys),
        envelopes,
        exchanges,
        sealings,
        macs,
        signing,
      },
      ...{
        imports,
        aggregation,
        queries: aggregation.queries(jobs),
        decryption: createDecryption({ keys, hsm }),
        coverage,
        fields,
        fieldSchemas,
        namespaces,
        tokens,
        jobs,
        ...rotation.routes(jobs),
        audit,
        operations,
      },
    }),
    async authenticate(authorization) {
      // Whoever cannot see what was changed lately refuses rather than guesses.
      if (!revision.isFresh()) await revision.sync();
      return await authenticator.authenticate(authorization);
    },
    onRefused: (source, code) => audit.countRefusal(source ?? 'unknown', code),
    ready: steadyReadiness(createReadiness({ hsm, store, audit, clock }), clock),
    metricsHandler: async (caller: Caller) => {
      try {
        return await operations.run(caller, 'service.metrics', { kind: 'service' }, page);
      } catch (error) {
        // Measurements hold no secrets, and are needed most while the log cannot be written.
        if (!isServiceError(error, 'audit/unavailable')) throw error;
        authorize(caller, 'service.metrics');
        return await page();
      }
    },
    metrics,
    log,
    version,
    limits: config.admission,
  });
  const { scheduler } = rotation;
  return { app, keys, imports, aggregation, jobs, lifecycle, events, scheduler, threads, systemKeys };
}

/** Keys on their way from token to token. Never throws: it is tried again a minute later. */
async function settle(systemKeys: SystemKeys, log: Logger): Promise<void> {
  try {
    const { taken, handedOver } = await systemKeys.settle();
    if (taken + handedOver > 0) log.info({ taken, handedOver }, 'system keys went from token to token');
  } catch (error) {
    log.warn({ code: codeOf(error) }, 'system keys for this token or another one are left where they are');
  }
}

function codeOf(error: unknown): string {
  return error instanceof ServiceError ? error.code : 'internal';
}
