/** Everything that is told. A type never changes its meaning. */
export const eventTypes = [
  'rotation.due',
  'rotation.done',
  'rotation.failed',
  'version.retired',
  'destruction.scheduled',
  'destruction.cancelled',
  'destruction.done',
  'coverage.reached',
] as const;

export type EventType = (typeof eventTypes)[number];

/** Something that happened to a key; other members say more of it: plain values, times in milliseconds named `…At`. */
export interface NewEvent {
  readonly type: EventType;
  readonly namespaceId: string;
  readonly keyId: string;
  /** Milliseconds. */
  readonly at: number;
}

/** An event as it is told. */
export interface EventView {
  /** Grows with the order in which events came about; others of other namespaces come between. */
  readonly number: number;
  readonly id: string;
  readonly type: EventType;
  readonly keyId: string;
  /** Milliseconds. */
  readonly at: number;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What is sent of it, to streams and webhooks alike: JSON. */
export function eventText({ id, type, keyId, at, data }: EventView): string {
  return JSON.stringify({ id, type, timestamp: new Date(at).toISOString(), data: { keyId, ...data } });
}
