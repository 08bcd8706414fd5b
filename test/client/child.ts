import {
  createClient,
  createLocalEncryption,
  decryptFile,
  encryptFile,
} from '../../src/client/node/index.ts';

// Encrypts or decrypts one file, to be killed meanwhile: operation, URL, from, to; the token comes in the environment.
const [operation, url = '', from = '', to = ''] = process.argv.slice(2);
const client = createClient({ url, credentials: process.env['TOKEN'] ?? '' });
const local = createLocalEncryption({ client, key: 'files' });
const onProgress = (done: number) => process.stdout.write(`${done}\n`);
await (operation === 'encrypt' ? encryptFile : decryptFile)(local, { from, to, onProgress });
