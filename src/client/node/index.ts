export * from '../index.ts';
// In place of the one on fetch.
export { createClient, type NodeClientOptions } from './client.ts';
export {
  decryptFile,
  decryptFileStream,
  encryptFile,
  type FileOptions,
  rewrapFile,
} from './files.ts';
export type { HttpTransportOptions } from './http-transport.ts';
// In place of the one on Web Crypto.
export { createLocalEncryption } from './local.ts';
export type { Progress } from './reading.ts';
export {
  sealFile,
  sealStream,
  type UnsealOptions,
  type UnsealService,
  unsealFile,
  unsealFileStream,
  unsealStream,
} from './sealed-files.ts';
export {
  fingerprintOf,
  type PublicKeyAnswer,
  type SealingKey,
  type SealToOptions,
  sealingKey,
  sealTo,
} from './sealing.ts';
export { createFileSpool } from './spool.ts';
export { tokenFromFile } from './token-file.ts';
export { FileExists } from './whole-file.ts';
export { type WrappedKey, wrapKey } from './wrap-key.ts';
