import type { listQuery } from '../http/validation.ts';
import type * as keys from '../keys/routes-schemas.ts';
import type * as rotation from '../rotation/routes-schemas.ts';
import type { CallOptions, List, Nothing, Operation } from './type-parts.ts';
import type { Answered, Given } from './type-wire.ts';

export type RotationPolicy = Answered<typeof rotation.policyAnswer>;

type KeyParams = Given<typeof rotation.keyParams>;

/** Rotation's part of the operations in ./types.ts. */
export interface RotationOperations {
  /** How much of the current version is used up. */
  getKeyUsage: Operation<KeyParams, Answered<typeof keys.usageAnswer>>;
  /** When the key is rotated next, and why. */
  getRotationPolicy: Operation<KeyParams, RotationPolicy>;
  setRotationPolicy: Operation<KeyParams & Given<typeof rotation.policyBody>, RotationPolicy>;
  /** The dates to come; nothing is set. */
  planRotation: Operation<KeyParams & Given<typeof rotation.planBody>, Answered<typeof rotation.planAnswer>>;
  listRotations: List<KeyParams & Given<typeof listQuery>, Answered<typeof rotation.rotationsAnswer>>;
  getDefaultRotationPolicy(
    input?: Nothing,
    options?: CallOptions,
  ): Promise<Answered<typeof rotation.defaultAnswer>>;
  setDefaultRotationPolicy: Operation<
    Given<typeof rotation.defaultBody>,
    Answered<typeof rotation.defaultAnswer>
  >;
  listUpcomingRotations: List<Given<typeof rotation.upcomingQuery>, Answered<typeof rotation.upcomingAnswer>>;
  getRotationStatus(input?: Nothing, options?: CallOptions): Promise<Answered<typeof rotation.statusAnswer>>;
}
