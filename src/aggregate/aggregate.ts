import type { Operations } from '../access/operations.ts';
import type { Clock } from '../core/clock.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { SystemKeys } from '../keys/system-keys.ts';
import type { Store } from '../store/store.ts';
import { type Contributions, createContributions } from './contributions.ts';
import { createDatasets, type Datasets } from './datasets.ts';
import { createEpochs } from './epochs.ts';
import { createKeyMaker } from './key-maker.ts';
import { createDatasetLookup } from './lookup.ts';
import { createShredding } from './shredding.ts';

/** Numbers that are added up without being decrypted. */
export interface Aggregation {
  readonly datasets: Datasets;
  readonly contributions: Contributions;
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
  return {
    datasets: createDatasets({ store, systemKeys, operations, clock, epochs, lookup }),
    contributions: createContributions({ store, rows, operations, clock, lookup }),
    ...createShredding({ store, rows, operations, clock }),
  };
}
