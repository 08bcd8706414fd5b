import { z } from 'zod';
import type { FamilySamples } from '../core/metrics-text.ts';

/**
 * What supervisor and processes tell each other. A process may come from newer files than its supervisor: what the
 * other side does not know it leaves alone.
 */
const id = z.number().int().nonnegative();

const families = z.array(
  z.object({
    name: z.string(),
    help: z.string(),
    type: z.enum(['counter', 'gauge', 'histogram']),
    buckets: z.array(z.number()).optional(),
    // JSON has no infinities: they come as null.
    series: z.array(
      z.object({
        labels: z.string(),
        values: z.array(
          z
            .number()
            .nullable()
            .transform((value) => value ?? Number.NaN),
        ),
      }),
    ),
  }),
);

/** How a process stops: idle connections are cut at once, or kept until they are used or time out. */
const manner = z.enum(['at-once', 'unnoticed']);

export const toSupervisor = z.discriminatedUnion('type', [
  /** The main thread gets to its timers. */
  z.object({ type: z.literal('beat') }),
  z.object({ type: z.literal('listening'), url: z.string() }),
  z.object({ type: z.literal('failed'), text: z.string(), code: z.string().optional() }),
  /** Answers `read`; with id 0 the last ones of a process that stops. */
  z.object({ type: z.literal('samples'), id, families }),
  /** It cannot work any more: another is to take its place, and it goes on until that serves. */
  z.object({ type: z.literal('replace') }),
  /** Asks for the page of all processes. */
  z.object({ type: z.literal('page'), id }),
]);

export const toProcess = z.discriminatedUnion('type', [
  /** `port` takes the place of the setting's 0. */
  z.object({ type: z.literal('start'), number: id, port: id, beatMs: z.number().positive() }),
  z.object({ type: z.literal('stop'), manner }),
  z.object({ type: z.literal('read'), id }),
  /** Answers `page`. */
  z.object({ type: z.literal('text'), id, text: z.string() }),
]);

export type ToSupervisor =
  | Exclude<z.input<typeof toSupervisor>, { type: 'samples' }>
  | { readonly type: 'samples'; readonly id: number; readonly families: readonly FamilySamples[] };
export type FromProcess = z.output<typeof toSupervisor>;
export type ToProcess = z.output<typeof toProcess>;
export type Manner = z.output<typeof manner>;
