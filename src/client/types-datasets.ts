import type * as aggregate from '../aggregate/routes-schemas.ts';
import type { listQuery } from '../http/validation.ts';
import type { List, Operation } from './type-parts.ts';
import type { Answered, Given } from './type-wire.ts';

export type Dataset = Answered<typeof aggregate.datasetAnswer>;
export type Epoch = Answered<typeof aggregate.epochAnswer>;

type DatasetParams = Given<typeof aggregate.datasetParams>;

/** Operations on datasets and their epochs. */
export interface DatasetOperations {
  createDataset: Operation<Given<typeof aggregate.createDatasetBody>, Dataset>;
  listDatasets: List<Given<typeof listQuery>, Answered<typeof aggregate.datasetsAnswer>>;
  getDataset: Operation<DatasetParams, Dataset>;
  /** Ends the epoch that takes contributions, and begins the next. */
  openEpoch: Operation<DatasetParams, Epoch>;
  listEpochs: List<DatasetParams & Given<typeof listQuery>, Answered<typeof aggregate.epochsAnswer>>;
  shredEpoch: Operation<Given<typeof aggregate.epochParams>, Epoch>;
  /** What `stathera-kms/client/aggregate` verifies and encrypts with. */
  getEpochKey: Operation<DatasetParams, Answered<typeof aggregate.epochKeyAnswer>>;
  /** What `stathera-kms/client/aggregate` made: the same bytes sent again count once. */
  contribute: Operation<
    Given<typeof aggregate.contributeParams> & { readonly upload: Uint8Array },
    Answered<typeof aggregate.contributionAnswer>
  >;
}
