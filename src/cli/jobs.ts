import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { isStatheraError } from '../client/errors.ts';
import type { Client, Job } from '../client/index.ts';
import { mayPass } from '../client/retries.ts';
import { interruptible } from './interrupt.ts';
import { withExamples } from './options.ts';
import { print, table } from './output.ts';
import { createProgress, formatSeconds } from './progress.ts';
import type { Surroundings } from './surroundings.ts';

const jobArgument = ['<job>', 'its id'] as const;
const states = ['queued', 'running', 'done', 'failed', 'cancelled'] as const;
const watchMilliseconds = 500;

export function addJobCommands(program: Command, { client, exit }: Surroundings): void {
  const jobs = program.command('jobs').description('see and cancel work that takes longer than a request');
  addList(jobs, client);

  const verbs: [string, string, (service: Client, id: string) => Promise<Job>][] = [
    ['show', 'show how far a job is', (service, id) => service.getJob({ id })],
    ['cancel', 'cancel a job; what it did stays', (service, id) => service.cancelJob({ id })],
  ];
  for (const [verb, description, act] of verbs) {
    const command = jobs
      .command(verb)
      .description(description)
      .argument(...jobArgument)
      .action(async (id: string, _options, self: Command) => {
        const job = await act(await client(), id);
        print(self, job, () => describe(job));
      });
    withExamples(command, `stathera jobs ${verb} 019a5b2e-8c00-7000-8000-000000000001`);
  }

  const watch = jobs
    .command('watch')
    .description('show how a job gets on until it ends; the exit code is 1 unless it is done')
    .argument(...jobArgument)
    .action(async (id: string, _options, self: Command) => {
      const service = await client();
      const job = await interruptible((signal) => watchJob(service, id, signal));
      print(self, job, () => describe(job));
      if (job.state !== 'done') exit(1);
    });
  withExamples(watch, 'stathera jobs watch 019a5b2e-8c00-7000-8000-000000000001');
}

function addList(jobs: Command, client: Surroundings['client']): void {
  const list = jobs
    .command('list')
    .description('list jobs, oldest first')
    .option('--state <state>', states.join(', '))
    .option('--kind <kind>', 'what they do')
    .option('--service', 'those of the service itself (needs service:admin)')
    .action(async ({ state, kind, service }: ListOptions, command: Command) => {
      const query = {
        ...(state !== undefined && { state }),
        ...(kind !== undefined && { kind }),
        ...(service && { service: 'true' as const }),
      };
      const items = await Array.fromAsync((await client()).listJobs.all(query));
      print(command, { items }, () =>
        table([
          ['ID', 'KIND', 'STATE', 'DONE', 'LEFT', 'CREATED'],
          ...items.map((job) => [job.id, job.kind, job.state, doneOf(job), leftOf(job), job.createdAt]),
        ]),
      );
    });
  withExamples(list, 'stathera jobs list --state running', 'stathera jobs list --service');
}

interface ListOptions {
  readonly state?: (typeof states)[number];
  readonly kind?: string;
  readonly service?: true;
}

async function watchJob(service: Client, id: string, signal: AbortSignal): Promise<Job> {
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
