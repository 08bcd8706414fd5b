import type { Operations } from '../access/operations.ts';
import type { Clock } from '../core/clock.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { AnyKind } from '../jobs/kinds.ts';
import type { SystemKeys } from '../keys/system-keys.ts';
import type { Store } from '../store/store.ts';
import { type Contributions, createContributions } from './contributions.ts';
import { createDatasets, type Datasets } from './datasets.ts';
import { createEpochs } from './epochs.ts';
import { createKeyMaker } from './key-maker.ts';
import { createDatasetLookup } from './lookup.ts';
import { createBudgets } from './queries/budgets.ts';
import { createDecrypt } from './queries/decryptor.ts';
import { queryJob } from './queries/job.ts';
import { createQueries, type Queries } from './queries/queries.ts';
import { createQueryRows } from './queries/rows.ts';
import { createShredding } from './shredding.ts';

/** Numbers that are added up without being decrypted. */
export interface Aggregation {
  readonly datasets: Datasets;
  readonly contributions: Contributions;
  /** The kinds of jobs that answers are computed by. */
  readonly kinds: readonly AnyKind[];
  /** @param jobs they are made with */
  queries(jobs: Pick<Jobs, 'enqueue'>): Queries;
  /** Shreds epochs whose retention is over; to be called about once a minute. */
  sweep(): Promise<void>;
}

export function createAggregation({
  hsm,
  store,
  systemKeys,
  operations,
  clock,
}: {
  hsm: Hsm;
  store: Store;
  systemKeys: SystemKeys;
  operations: Operations;
  clock: Clock;
}): Aggregation {
  const { rows } = systemKeys;
  const lookup = createDatasetLookup({ store, rows });
  const epochs = createEpochs({ hsm, store, systemKeys, clock, makeKeys: createKeyMaker() });
  const budgets = createBudgets({ store, rows });
  const queryRows = createQueryRows({ store, rows });
  const asking = { store, clock, operations, lookup, budgets, queryRows };
  return {
    kinds: [queryJob({ ...asking, rows, epochs, decrypt: createDecrypt() })],
    queries: (jobs) => createQueries({ ...asking, jobs }),
    datasets: createDatasets({ store, systemKeys, operations, clock, epochs, lookup }),
    contributions: createContributions({ store, rows, operations, clock, lookup }),
    ...createShredding({ store, rows, operations, clock }),
  };
}
