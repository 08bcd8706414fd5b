import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { type AuditStatus, DecisionMoved } from './audit.ts';
import { errorCode } from './files.ts';
import { chainHead, encodeCommit, encodeRecord, newline, noLine } from './format.ts';
import type { AuditLimits, AuditLogger } from './options.ts';
import type { Segments } from './segments.ts';
import type { GroupSigner } from './signer.ts';
import { cannotWrite, unavailable } from './unavailable.ts';
import type { Position } from './walk.ts';

export interface GroupCommitOptions {
  readonly writer: string;
  readonly segments: Segments;
  readonly sign: GroupSigner;
  readonly start: Position;
  readonly clock: Clock;
  readonly limits: AuditLimits;
  readonly log: AuditLogger;
  /** Reads what was changed in the store. */
  readonly sync: () => Promise<void>;
  /** Called with the outbox ids of a group once it is durable, before its callers go on. */
  readonly onMoved: (ids: readonly string[]) => void;
  /** The record that tries the log after a failure when no other comes. */
  readonly recoveryEntry: () => string;
}

/** The queue before the segments: what waits is written together, one group at a time. */
export interface GroupCommit {
  /** @throws audit/unavailable while a write is known to fail, or after `close` */
  assertWritable(): void;
  /**
   * @param entryText from `encodeEntry`
   * @param place.outboxId of a change that is committed already: it is not refused for a full queue
   * @param place.stands see AuditLog.append
   * @returns when the record is on disk
   * @throws audit/unavailable, service/overloaded, DecisionMoved, store/unavailable
   */
  append(entryText: string, place?: Place): Promise<void>;
  /** The last durable record. */
  position(): Position;
  status(): AuditStatus;
  /** Refuses what comes, writes what waits. Resolves within the stall limit. */
  close(): Promise<void>;
}

interface Place {
  readonly outboxId?: string;
  readonly stands?: (() => boolean) | undefined;
}

interface Waiting extends Place {
  readonly text: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export function createGroupCommit(options: GroupCommitOptions): GroupCommit {
  const { writer, segments, sign, clock, limits, log, sync, onMoved, recoveryEntry } = options;
  const queue: Waiting[] = [];
  const counts = { appended: 0, groups: 0, unsignedGroups: 0 };
  let position = options.start;
  let running: Promise<void> | undefined;
  /** Set by a failure, cleared by the next group that is written. */
  let failure: { retryAt: number; trying: boolean } | undefined;
  let retryTimer: NodeJS.Timeout | undefined;
  let closed = false;

  function refuseUnlessWritable(): void {
    if (closed) throw unavailable('The audit log is closed.');
    if (failure && (failure.trying || clock.monotonic() < failure.retryAt)) throw unavailable(cannotWrite);
  }

  function append(text: string, { outboxId, stands }: Place = {}): Promise<void> {
    refuseUnlessWritable();
    if (outboxId === undefined && queue.length >= limits.queuedRecords) {
      throw new ServiceError('service/overloaded', 'Too many operations wait for the audit log.', {
        retryAfterSeconds: 1,
      });
    }
    if (failure) failure.trying = true;
    return new Promise((resolve, reject) => {
      queue.push({ text, ...(outboxId && { outboxId }), stands, resolve, reject });
      // The tick's other records come along.
      running ??= nextTurn().then(writeAll);
    });
  }

  async function writeAll(): Promise<void> {
    while (queue.length > 0) await writeGroup(takeGroup(queue, limits));
    running = undefined;
  }

  /** Who decided on what was changed meanwhile is not recorded as it decided. */
  async function standing(group: readonly Waiting[]): Promise<readonly Waiting[]> {
    if (!group.some(({ stands }) => stands)) return group;
    const unread = await sync().then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    return group.filter(({ stands, reject }) => {
      if (!stands || (!unread && stands())) return true;
      reject(unread ? unread.error : new DecisionMoved());
      return false;
    });
  }

  /** Never rejects: the group's callers learn the outcome. */
  async function writeGroup(asked: readonly Waiting[]): Promise<void> {
    const group = await standing(asked);
    if (group.length === 0) {
      if (failure) retryLater();
      return;
    }
    const stall = watch(limits.stallMilliseconds, () => fail(group, 'stalled', undefined, true));
    try {
      await segments.prepare(position);
      const built = buildGroup(writer, position, segments.between(), group);
      const mac = await sign(built.sequence, built.head);
      const commitLine = encodeCommit(built.sequence, built.head, mac);
      const bytes = Buffer.concat([...built.parts, commitLine, newlineBytes]);
      await segments.writeGroup(bytes);
      // Its callers were refused meanwhile: the next group begins with cutting this one off.
      if (stall.over()) throw new Error('the group was written too late');
      segments.commit(bytes.length, commitLine);
      position = { sequence: built.sequence, head: built.head, mac };
      succeed(group, mac);
    } catch (error) {
      fail(group, errorCode(error), error, false);
    } finally {
      stall.end();
    }
  }

  function succeed(group: readonly Waiting[], mac: string | null): void {
    if (failure) log('info', 'audit.recovered', { writer, sequence: position.sequence });
    failure = undefined;
    counts.groups += 1;
    counts.appended += group.length;
    if (mac === null) counts.unsignedGroups += 1;
    onMoved(group.flatMap(({ outboxId }) => outboxId ?? []));
    for (const { resolve } of group) resolve();
  }

  /** @param trying the write is not over: nothing may follow it yet */
  function fail(group: readonly Waiting[], reason: string, cause: unknown, trying: boolean): void {
    if (!failure) log('error', 'audit.unavailable', { writer, reason });
    retryLater(trying);
    for (const { reject } of [...group, ...queue.splice(0)]) reject(unavailable(cannotWrite, cause));
  }

  function retryLater(trying = false): void {
    failure = { retryAt: clock.monotonic() + limits.retryMilliseconds, trying };
    tryAgainSoon();
  }

  async function attempt(): Promise<void> {
    try {
      await append(recoveryEntry());
    } catch {
      tryAgainSoon();
    }
  }

  /** Nobody may be calling, least of all while balancers see the service as not ready. */
  function tryAgainSoon(): void {
    if (closed || retryTimer) return;
    retryTimer = setTimeout(() => {
      retryTimer = undefined;
      if (failure) void attempt();
    }, 2 * limits.retryMilliseconds).unref();
  }

  return {
    assertWritable: refuseUnlessWritable,
    append: async (text, place) => append(text, place),
    position: () => position,
    status: () => ({ state: failure || closed ? 'unavailable' : 'ready', queued: queue.length, ...counts }),
    async close() {
      closed = true;
      clearTimeout(retryTimer);
      const end = watch(limits.stallMilliseconds, () => undefined);
      await Promise.race([running, end.expired]);
      end.end();
    },
  };
}

const newlineBytes = Buffer.of(newline);

function takeGroup(queue: Waiting[], limits: AuditLimits): Waiting[] {
  let [count, bytes] = [0, 0];
  for (const { text } of queue) {
    bytes += text.length;
    if (count > 0 && (count >= limits.groupRecords || bytes > limits.groupBytes)) break;
    count += 1;
  }
  return queue.splice(0, count);
}

/** The group's lines up to its commit line, and the chain after them. */
function buildGroup(writer: string, after: Position, lineBefore: Buffer, group: readonly Waiting[]) {
  const parts: Buffer[] = [];
  let { sequence, head } = after;
  let between = lineBefore;
  for (const { text } of group) {
    sequence += 1;
    const record = encodeRecord(sequence, text);
    head = chainHead({ writer, sequence, head, between, record });
    between = noLine;
    parts.push(record, newlineBytes);
  }
  return { parts, sequence, head };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/**
 * A time limit that is fair to a busy process: when it ends, finished input and output is looked at before
 * it counts as passed.
 */
function watch(milliseconds: number, onOver: () => void) {
  let [over, ended] = [false, false];
  let expire: () => void = () => undefined;
  const expired = new Promise<void>((resolve) => {
    expire = resolve;
  });
  const timer = setTimeout(() => setImmediate(lastLook), milliseconds);
  function lastLook(): void {
    if (ended) return;
    over = true;
    onOver();
    expire();
  }
  return {
    expired,
    over: () => over,
    end() {
      ended = true;
      clearTimeout(timer);
    },
  };
}
