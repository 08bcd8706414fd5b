import { accessRoutes } from './access/routes.ts';
import { datasetRoutes } from './aggregate/routes.ts';
import { queryRoutes } from './aggregate/routes-queries.ts';
import { auditRoutes } from './audit/routes.ts';
import { coverageRoutes } from './coverage/routes.ts';
import { decryptionRoutes } from './decryption/routes.ts';
import { envelopeRoutes } from './envelope/routes.ts';
import { eventRoutes } from './events/routes.ts';
import { exchangeRoutes } from './exchange/routes.ts';
import { sealingRoutes } from './exchange/routes-sealing.ts';
import { fieldRoutes } from './fields/routes.ts';
import type { AnyRoute } from './http/route.ts';
import { importRoutes } from './importing/routes.ts';
import { jobRoutes } from './jobs/routes.ts';
import { keyRoutes } from './keys/routes.ts';
import { publicKeyRoutes } from './keys/routes-public-key.ts';
import { lifecycleRoutes } from './lifecycle/routes.ts';
import { macRoutes } from './macs/routes.ts';
import { rotationRoutes } from './rotation/routes.ts';
import { jwksRoutes, signingRoutes } from './signing/routes.ts';

type Capabilities = Parameters<typeof accessRoutes>[0] &
  Parameters<typeof rotationRoutes>[0] &
  Parameters<typeof auditRoutes>[0] &
  Parameters<typeof fieldRoutes>[0] & {
    readonly aggregation: Parameters<typeof datasetRoutes>[0];
    readonly queries: Parameters<typeof queryRoutes>[0];
    readonly jobs: Parameters<typeof jobRoutes>[0];
    readonly keys: Parameters<typeof keyRoutes>[0];
    readonly envelopes: Parameters<typeof envelopeRoutes>[0];
    readonly events: Parameters<typeof eventRoutes>[0];
    readonly lifecycle: Parameters<typeof lifecycleRoutes>[0];
    readonly publicKeys: Parameters<typeof publicKeyRoutes>[0];
    readonly exchanges: Parameters<typeof exchangeRoutes>[0];
    readonly sealings: Parameters<typeof sealingRoutes>[0];
    readonly coverage: Parameters<typeof coverageRoutes>[0];
    readonly macs: Parameters<typeof macRoutes>[0];
    readonly decryption: Parameters<typeof decryptionRoutes>[0];
    readonly signing: Parameters<typeof signingRoutes>[0];
    readonly imports: Parameters<typeof importRoutes>[0];
  };

/** Every capability's routes, in the order the documentation shows them. */
export function allRoutes(capabilities: Capabilities): AnyRoute[] {
  return [
    ...jwksRoutes(capabilities.signing),
    ...keyRoutes(capabilities.keys),
    ...publicKeyRoutes(capabilities.publicKeys),
    ...lifecycleRoutes(capabilities.lifecycle),
    ...rotationRoutes(capabilities),
    ...importRoutes(capabilities.imports),
    ...envelopeRoutes(capabilities.envelopes),
    ...coverageRoutes(capabilities.coverage),
    ...fieldRoutes(capabilities),
    ...decryptionRoutes(capabilities.decryption),
    ...exchangeRoutes(capabilities.exchanges),
    ...sealingRoutes(capabilities.sealings),
    ...macRoutes(capabilities.macs),
    ...signingRoutes(capabilities.signing),
    ...datasetRoutes(capabilities.aggregation),
    ...queryRoutes(capabilities.queries),
    ...accessRoutes(capabilities),
    ...eventRoutes(capabilities.events),
    ...jobRoutes(capabilities.jobs),
    ...auditRoutes(capabilities),
  ];
}
