import { createLocalEncryptionOn, type LocalEncryption, type LocalSettings } from './local.ts';
import { webCiphers } from './web-ciphers.ts';

/**
 * Encrypts and decrypts in this page or worker, on Web Crypto. A stream of up to 64 MiB is kept in memory until it is
 * verified; pass `createSpool` for longer ones.
 */
export function createLocalEncryption(settings: LocalSettings): LocalEncryption {
  return createLocalEncryptionOn(webCiphers, settings);
}
