import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { makeKey, plaintext, recordsOnDisk } from '../access/support.ts';
import { freshDataDir, removeDirectory, runMain } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';

interface Fault {
  readonly name: string;
  /** Before the service starts. @returns false where this system does not let a test do it */
  prepare?(audit: string): Promise<boolean> | boolean;
  fault(audit: string): Promise<void>;
  repair(audit: string): Promise<void>;
  /** What was written before is gone for good. */
  readonly loses: boolean;
}

/** A command that changes the disk; true when it was done. */
function did(command: string, ...args: string[]): boolean {
  return spawnSync(command, args).status === 0;
}

function must(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args);
  if (status !== 0) throw new Error(`${command}: ${String(stderr)}`);
}

const faults: readonly Fault[] = [
  {
    name: 'disk full',
    loses: false,
    async prepare(audit) {
      await mkdir(audit, { recursive: true });
      const mounted = did('mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', audit);
      if (mounted) onTestFinished(() => void did('umount', '-l', audit));
      return mounted;
    },
    async fault(audit) {
      await writeFile(join(audit, 'ballast'), Buffer.alloc(8 * 1024 * 1024)).catch(
        (error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOSPC') throw error;
        },
      );
    },
    repair: (audit) => rm(join(audit, 'ballast')),
  },
  {
    // Root may write what is read-only by its mode, and a file that is open for writing keeps its mount writable:
    // the attribute that forbids writing to everybody is what a read-only disk looks like to open files.
    name: 'read-only',
    loses: false,
    async prepare(audit) {
      await mkdir(audit, { recursive: true });
      return did('chattr', '+i', audit) && did('chattr', '-i', audit);
    },
    async fault(audit) {
      onTestFinished(() => void did('chattr', '-R', '-i', audit));
      must('chattr', '-R', '+i', audit);
    },
    async repair(audit) {
      must('chattr', '-R', '-i', audit);
    },
  },
  {
    name: 'directory renamed',
    loses: false,
    fault: (audit) => rename(audit, `${audit}.away`),
    repair: (audit) => rename(`${audit}.away`, audit),
  },
  {
    name: 'directory deleted',
    loses: true,
    fault: (audit) => rm(audit, { recursive: true }),
    repair: (audit) => mkdir(audit),
  },
];

interface Answered {
  readonly id: string;
  readonly begun: number;
  readonly ended: number;
  readonly status: number;
  readonly code: unknown;
}

/** Clients in a closed loop, changes among what they do; `stop` waits for every answer. */
function load(service: TestService) {
  const answers: Answered[] = [];
  const state = { stopped: false, sent: 0 };
  const clients = Array.from({ length: 12 }, async () => {
    while (!state.stopped) {
      state.sent += 1;
      const id = `load-${state.sent}`;
      const begun = performance.now();
      const [path, body] =
        state.sent % 10 === 0
          ? ['/v1/keys', { name: `made-${state.sent}` }]
          : ['/v1/keys/key/encrypt', { plaintext }];
      const answer = await service.call('POST', path, body, { headers: { 'x-request-id': id } });
      answers.push({ id, begun, ended: performance.now(), status: answer.status, code: answer.body['code'] });
      if (answer.status === 503) await delay(5);
    }
  });
  return {
    answers,
    async stop() {
      state.stopped = true;
      await Promise.all(clients);
    },
  };
}

/** Waits for an answer that ended after `since` and is one of `statuses`. @returns milliseconds since then */
async function firstAfter(answers: readonly Answered[], since: number, statuses: number[]): Promise<number> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const found = answers.find(({ begun, status }) => begun > since && statuses.includes(status));
    if (found !== undefined) return found.ended - since;
    if (performance.now() > deadline) throw new Error(`no ${statuses.join()} in time`);
    await delay(5);
  }
}

// The bound is one second; ten allow for a machine that does other things.
const ceilingMs = 10_000;

/**
 * Guarantees of the whole service under load that a log that cannot be written makes every answer a refusal, soon and
 * without one that hangs, that it works again by itself, and that what was acknowledged is on record.
 */
test.for(faults)('the log under load: $name', { timeout: 120_000 }, async (one, { skip }) => {
  const dataDir = await freshDataDir();
  onTestFinished(() => removeDirectory(dataDir));
  const audit = join(dataDir, 'audit');
  skip((await one.prepare?.(audit)) === false, 'needs rights over the file system');
  const service = await startTestService({ dataDir });
  onTestFinished(() => service.kill());
  await makeKey(service, 'key');
  const { answers, stop } = load(service);
  onTestFinished(stop);
  await firstAfter(answers, 0, [200]);
  await delay(200);

  const broken = performance.now();
  await one.fault(audit);
  const refusedMs = await firstAfter(answers, broken, [503]);
  const refusing = performance.now();
  await delay(700);
  const repaired = performance.now();
  await one.repair(audit);
  const servedMs = await firstAfter(answers, repaired, [200]);
  await delay(300);
  await stop();

  const during = answers.filter(({ begun }) => begun > refusing && begun < repaired - 50);
  const served = during.filter(({ status, ended }) => status !== 503 && ended < repaired);
  // What a full disk gave back of the group that did not fit may take a smaller one; it is on record then, see below.
  expect(served.length).toBeLessThanOrEqual(one.name === 'disk full' ? during.length / 4 : 0);
  expect(during.length).toBeGreaterThan(12);
  const refusals = answers.filter(({ status }) => status === 503);
  expect(refusals.filter(({ code }) => code !== 'audit/unavailable')).toEqual([]);
  expect(answers.filter(({ status }) => ![200, 201, 503].includes(status))).toEqual([]);
  const slowest = Math.max(...answers.map(({ begun, ended }) => ended - begun));
  expect([refusedMs, servedMs, slowest].filter((ms) => ms > ceilingMs)).toEqual([]);
  const times = [refusedMs, slowest, servedMs].map(Math.round);
  process.stdout.write(
    `${one.name}: first refusal after ${times[0]} ms, slowest answer ${times[1]} ms, served again after ${times[2]} ms\n`,
  );

  expect(await service.stop()).toBe(0);
  const records = (await recordsOnDisk(dataDir)).map(({ requestId }) => requestId);
  expect(new Set(records.filter((id) => id.startsWith('load-'))).size).toBe(
    records.filter((id) => id.startsWith('load-')).length,
  );
  const acknowledged = answers.filter(
    ({ status, begun }) => status < 300 && (!one.loses || begun > repaired),
  );
  const recorded = new Set(records);
  expect(acknowledged.filter(({ id }) => !recorded.has(id))).toEqual([]);
  const verify = await runMain(
    ['audit', 'verify', '--with-token', '--json'],
    { STATHERA_DATA_DIR: dataDir },
    { allowFailure: true },
  );
  expect(verify.code).toBe(one.loses ? 1 : 0);
  const report = JSON.parse(verify.stdout) as { problems: unknown[]; losses: unknown[] };
  expect([report.problems.length, report.losses.length]).toEqual([0, one.loses ? 1 : 0]);
  expect(existsSync(`${audit}.away`)).toBe(false);
});
