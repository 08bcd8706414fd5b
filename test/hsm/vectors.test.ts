import { vectorsContract } from '../contract/vectors.contract.ts';
import { openTestToken } from '../support/token.ts';

vectorsContract('SoftHSM', () => openTestToken());
