import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ImportWrapping } from '../crypto/import-wrapping.ts';
import { Failed } from './failed.ts';
import { withExamples } from './options.ts';
import { print } from './output.ts';
import type { Surroundings } from './surroundings.ts';

interface Options {
  readonly wrapping: ImportWrapping;
  readonly expiresAt?: string;
  readonly checkValue?: string;
}

const wrappings = ['hpke-x-wing', 'rsa-aes-key-wrap-sha-256'] as const satisfies ImportWrapping[];

/** `keys import`: asks for parameters, wraps the key here and sends it, so that it is in clear on this machine alone. */
export function addImport(keys: Command, { client }: Surroundings): void {
  const wrapping = new Option('--wrapping <wrapping>', 'how it is wrapped').choices(wrappings);
  const command = keys
    .command('import')
    .description('make a key of a file the current version of a key; it is wrapped before it is sent')
    .argument('<key>', 'its name or id')
    .argument('<file>', 'the bytes of the key and nothing else; - is stdin')
    .addOption(wrapping.default('hpke-x-wing'))
    .option('--check-value <hex>', 'what the check value must be: nothing is sent if it is another', hexBytes)
    .option('--expires-at <time>', 'until when the version may be used: RFC 3339, in UTC')
    .action(async (key: string, file: string, options: Options, self: Command) => {
      const { checkValue: expected, expiresAt } = options;
      const service = await client();
      const { wrapKey } = await import('../client/node/wrap-key.ts');
      const value = readKey(file);
      try {
        const parameters = await service.getImportParameters({ key, wrapping: options.wrapping });
        if (value.length !== parameters.keyBytes)
          throw new Failed(`${key} takes keys of ${parameters.keyBytes} bytes: this one has ${value.length}`);
        const wrapped = await wrapKey(parameters, value);
        const checkValue = Buffer.from(wrapped.checkValue).toString('hex');
        if (expected !== undefined && expected !== checkValue)
          throw new Failed(`the check value of this key is ${checkValue}: nothing was sent`);
        const { checkValue: _, ...imported } = await service.importKey({
          ...{ key, ...wrapped },
          ...(expiresAt !== undefined && { expiresAt }),
        });
        print(self, { ...imported, checkValue }, () => [
          `version ${imported.currentVersion} of ${imported.name} is imported; its check value is ${checkValue}`,
        ]);
      } finally {
        value.fill(0);
      }
    });
  withExamples(
    command,
    'stathera keys create legacy --origin external && stathera keys import legacy legacy.key',
    'openssl rand 32 | stathera keys import payments - --wrapping rsa-aes-key-wrap-sha-256',
  );
}

/** The longest is HMAC-SHA-512's. */
const mostBytes = 64;

function readKey(file: string): Buffer {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file === '-' ? 0 : file);
  } catch {
    throw new Failed(`${file} cannot be read`);
  }
  if (bytes.length <= mostBytes) return bytes;
  bytes.fill(0);
  throw new Failed(
    `${file} has ${bytes.length} bytes: a key has ${mostBytes} at most, and no encoding around it`,
  );
}

function hexBytes(text: string): string {
  if (/^[0-9a-f]{10}$/i.test(text)) return text.toLowerCase();
  throw new InvalidArgumentError('must be 5 bytes in hexadecimal');
}
