import { openTestToken } from '../support/token.ts';
import { hsmContract } from './hsm.contract.ts';

hsmContract('SoftHSM through PKCS#11', () => openTestToken());
