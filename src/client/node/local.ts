import { nodeCiphers } from '../../crypto/payload/node-ciphers.ts';
import { createLocalEncryptionOn, type LocalEncryption, type LocalSettings } from '../local.ts';
import { createFileSpool } from './spool.ts';

/**
 * Encrypts and decrypts in this process, on node:crypto. A stream is kept, still encrypted, in a temporary file until
 * it is verified, unless `createSpool` says otherwise.
 */
export function createLocalEncryption(settings: LocalSettings): LocalEncryption {
  return createLocalEncryptionOn(nodeCiphers, { createSpool: () => createFileSpool(), ...settings });
}
