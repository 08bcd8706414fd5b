import type { Config } from './config.ts';
import type { Clock } from './core/clock.ts';
import type { Hsm, TokenReport } from './hsm/hsm.ts';
import type { Store } from './store/store.ts';

export type Note = (level: 'debug' | 'info' | 'warn' | 'error', event: string, fields: object) => void;

/** What the service runs on. main.ts names the real ones; tests of faults wrap them. */
export interface Adapters {
  readonly clock: Clock;
  openHsm(settings: Config['hsm'], note: Note): Promise<Hsm>;
  /** Makes sure of the token and its root. */
  provisionToken(settings: Config['hsm']): Promise<{ readonly rootId: string; readonly created: boolean }>;
  /** Makes sure of the key pair that the token is handed other tokens' keys by. Takes seconds the first time. */
  provisionTransportKey(
    settings: Config['hsm'],
  ): Promise<{ readonly rootId: string; readonly publicKey: Uint8Array }>;
  /** Logs in to the token once and out again. @throws ServiceError `hsm/unavailable` */
  checkPin(settings: Config['hsm']): Promise<void>;
  describeToken(settings: Config['hsm']): Promise<TokenReport>;
  /** @param options `readonly`: for tools that only look; nothing is made, and no service is kept out */
  openStore(database: Config['database'], options?: { readonly readonly?: boolean }): Promise<Store>;
}
