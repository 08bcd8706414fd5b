import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Client, createClient, tokenFromFile } from '../../../src/client/node/index.ts';
import { runMain } from '../../support/data.ts';
import type { Told } from '../../support/demo.ts';
import { startTestService } from '../../support/service.ts';
import { issueCertificates } from './certificates.ts';

/** Those who call, each with a token for what is theirs. The operator has the first token, which may do everything. */
const parties = {
  sender: { scopes: ['keys:sign'], keys: ['sender-*'] },
  receiver: { scopes: ['keys:decrypt', 'keys:verify'], keys: ['receiver-*', 'sender-*'] },
  partner: { scopes: ['keys:admin', 'keys:sign'], keys: ['partner-*'] },
} as const;

export type Party = keyof typeof parties | 'operator';

export interface Stage {
  readonly told: Told;
  readonly dataDir: string;
  /** The authority that whoever calls must trust, PEM. */
  readonly ca: string;
  /** A place in the show's directory. */
  at(name: string): string;
  url(): string;
  as(party: Party): Client;
  tokenFile(party: Party): string;
  /** One command of `stathera`, which calls the service as the party. */
  command(party: Party, ...args: string[]): Promise<string>;
  /** Ends the service and starts it again on the same data. */
  restart(env: Readonly<Record<string, string>>): Promise<void>;
  /** What the service logged so far, from its first start on. */
  log(): string;
  /** Ends the service. @returns its exit code */
  stop(): Promise<number | null>;
}

/** Sets a service up in a directory, starts it with TLS, and makes the parties' tokens. */
export async function openStage(directory: string, told: Told): Promise<Stage> {
  const at = (name: string) => join(directory, name);
  const dataDir = at('data');
  const { ca, caFile, certFile, keyFile } = issueCertificates(directory);
  await runMain(['init'], { STATHERA_DATA_DIR: dataDir });
  const settings = {
    STATHERA_TLS_CERT_FILE: certFile,
    STATHERA_TLS_KEY_FILE: keyFile,
    STATHERA_LOG_LEVEL: 'debug',
  };
  const start = (env: Readonly<Record<string, string>> = {}) =>
    startTestService({ dataDir, env: { ...settings, ...env } });

  let service = await start();
  let ended = '';
  const clients = new Map<Party, Client>();
  const tokenFile = (party: Party) =>
    party === 'operator' ? join(dataDir, 'bootstrap-token') : at(`${party}.token`);

  function as(party: Party): Client {
    const known = clients.get(party);
    if (known !== undefined) return known;
    const credentials = tokenFromFile(tokenFile(party));
    const client = createClient({ url: service.url, credentials, tls: { ca } });
    clients.set(party, client);
    return client;
  }

  async function stop(): Promise<number | null> {
    const code = await service.stop();
    clients.clear();
    return code;
  }

  async function makeTokens(): Promise<void> {
    for (const [name, { scopes, keys }] of Object.entries(parties)) {
      const { secret } = await as('operator').createToken({ name, scopes: [...scopes], keys: [...keys] });
      await writeFile(tokenFile(name as Party), secret, { mode: 0o600 });
    }
  }

  try {
    await makeTokens();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    ...{ told, dataDir, ca, at, as, tokenFile, stop },
    url: () => service.url,
    command: async (party, ...args) => {
      const trust = { NODE_EXTRA_CA_CERTS: caFile };
      const env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: tokenFile(party), ...trust };
      return (await runMain(args, env)).stdout;
    },
    async restart(env) {
      await stop();
      ended += service.stderr();
      service = await start(env);
    },
    log: () => ended + service.stderr(),
  };
}
