import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { type Config, ConfigError } from './config.ts';
import { ServiceError } from './core/errors.ts';

/** Before anything else is asked. @throws ServiceError, ConfigError whose text tells an operator what to do */
export function checkStart(config: Config): void {
  if (!existsSync(join(config.dataDir, 'initialized'))) {
    throw new ServiceError(
      'store/unavailable',
      `${config.dataDir} is not initialized: run \`stathera init\` (an empty directory here may be a mount that failed).`,
    );
  }
  checkTlsFiles(config.tls);
}

/** A listener that cannot come about needs no token. @throws ConfigError */
function checkTlsFiles(tls: Config['tls']): void {
  if (tls === undefined) return;
  const read = (name: string, file: string) => {
    try {
      return readFileSync(file);
    } catch {
      throw new ConfigError(`${name}: the file cannot be read`);
    }
  };
  const cert = read('STATHERA_TLS_CERT_FILE', tls.certFile);
  const key = read('STATHERA_TLS_KEY_FILE', tls.keyFile);
  try {
    createSecureContext({ cert, key });
  } catch {
    throw new ConfigError(
      'STATHERA_TLS_CERT_FILE, STATHERA_TLS_KEY_FILE: they must be a certificate chain and its private key, in PEM',
    );
  } finally {
    key.fill(0);
  }
}
