import type { Generated } from 'kysely';

/** Something that happened, written with it. The newest are kept for a while. */
export interface EventRow {
  /** In the order of the commits. */
  number: Generated<number>;
  id: string;
  namespace_id: string;
  type: string;
  key_id: string;
  /** JSON. */
  data: string;
  created_at: number;
}

/** Where events of a namespace are sent. */
export interface WebhookRow {
  id: string;
  namespace_id: string;
  url: string;
  description: string;
  /** JSON array of types; null: all. */
  types: string | null;
  state: 'enabled' | 'disabled';
  kek_id: string;
  /** A key of its own, wrapped, and the secret, sealed by it. */
  blob: Uint8Array;
  created_at: number;
  revision: number;
  mac: Uint8Array;
}

/** An event on its way to a webhook; gone when it has arrived. */
export interface DeliveryRow {
  id: string;
  namespace_id: string;
  webhook_id: string;
  event_id: string;
  /** `dead`: given up, until somebody asks for it again. */
  state: 'pending' | 'dead';
  attempts: number;
  next_at: number;
  /** What the last attempt met: a status, or a word. */
  problem: string | null;
  created_at: number;
}
