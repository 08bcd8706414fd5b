import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { isStatheraError } from '../client/errors.ts';
import type { Client, Job } from '../client/index.ts';
import { mayPass } from '../client/retries.ts';
import { interruptible } from './interrupt.ts';
import { print, table } from './output.ts';
import { createProgress, formatSeconds } from './progress.ts';

const watchMilliseconds = 500;

export function showJob(command: Command, job: Job): void {
  print(command, job, () => describe(job));
}

export function listJobs(command: Command, items: readonly Job[]): void {
  print(command, { items }, () =>
    table([
      ['ID', 'KIND', 'STATE', 'DONE', 'LEFT', 'CREATED'],
      ...items.map((job) => [job.id, job.kind, job.state, doneOf(job), leftOf(job), job.createdAt]),
    ]),
  );
}

/** Shows how a job gets on until it ends. */
export async function watchJob(command: Command, service: Client, id: string): Promise<Job> {
  const job = await interruptible((signal) => untilEnded(service, id, signal));
  showJob(command, job);
  return job;
}

async function untilEnded(service: Client, id: string, signal: AbortSignal): Promise<Job> {
  let shown: Job | undefined;
  const progress = createProgress(id, { terminal: process.stderr, unit: 'done' });
  try {
    for (;;) {
      try {
        shown = await service.getJob({ id }, { signal });
        progress.update(shown.done, shown.total);
        if (shown.state !== 'queued' && shown.state !== 'running') return shown;
      } catch (error) {
        // A service that restarts goes on with the job.
        if (shown === undefined || !isStatheraError(error) || !mayPass(error)) throw error;
      }
      await delay(watchMilliseconds, undefined, { signal });
    }
  } finally {
    progress.clear();
  }
}

function doneOf({ done, total, chunks }: Job): string {
  if (total !== undefined) return `${done} of ${total}`;
  return chunks.total > 1 ? `${done}, ${chunks.done} of ${chunks.total} chunks` : String(done);
}

function leftOf({ secondsLeft }: Job): string {
  return secondsLeft === undefined ? '-' : formatSeconds(secondsLeft);
}

function describe(job: Job): string[] {
  const { done, failed, total } = job.chunks;
  return table([
    ['id', job.id],
    ['kind', job.kind],
    ['state', job.state],
    ['done', doneOf(job)],
    ['chunks', `${done} of ${total} done, ${failed} failed`],
    ['rate', job.ratePerSecond === undefined ? '-' : `${job.ratePerSecond.toFixed(1)}/s`],
    ['time left', leftOf(job)],
    ['created', `${job.createdAt} by ${job.createdBy}`],
    ['started', job.startedAt ?? '-'],
    ['finished', job.finishedAt ?? '-'],
    ['code', job.code ?? '-'],
    ['result', job.result === undefined ? '-' : JSON.stringify(job.result)],
  ]);
}
