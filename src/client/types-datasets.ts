import type * as aggregate from '../aggregate/routes-schemas.ts';
import type * as queries from '../aggregate/routes-schemas-queries.ts';
import type { listQuery } from '../http/validation.ts';
import type { List, Operation } from './type-parts.ts';
import type { Answered, Given } from './type-wire.ts';

export type Dataset = Answered<typeof aggregate.datasetAnswer>;
export type Epoch = Answered<typeof aggregate.epochAnswer>;
export type Query = Answered<typeof queries.queryAnswer>;
export type QueryEstimate = Answered<typeof queries.estimateAnswer>;

type DatasetParams = Given<typeof aggregate.datasetParams>;
type QueryParams = DatasetParams & Given<typeof queries.queryBody>;

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

  /** Made into an answer by a job; the same query asked again is the same one, and costs nothing. */
  queryDataset: Operation<QueryParams, Query>;
  /** What it would cost, and how exact the answer would be. */
  estimateQuery: Operation<QueryParams, QueryEstimate>;
  listQueries: List<DatasetParams & Given<typeof listQuery>, Answered<typeof queries.queriesAnswer>>;
  getQuery: Operation<Given<typeof queries.queryParams>, Query>;
  getBudget: Operation<DatasetParams, Answered<typeof queries.budgetAnswer>>;
}
