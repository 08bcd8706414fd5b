import type { Command } from 'commander';
import type { Client, Job } from '../client/index.ts';
import { withExamples } from './options.ts';
import type { Surroundings } from './surroundings.ts';

const jobArgument = ['<job>', 'its id'] as const;
const states = ['queued', 'running', 'done', 'failed', 'cancelled'] as const;

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
        (await import('./show-jobs.ts')).showJob(self, job);
      });
    withExamples(command, `stathera jobs ${verb} 019a5b2e-8c00-7000-8000-000000000001`);
  }

  const watch = jobs
    .command('watch')
    .description('show how a job gets on until it ends; the exit code is 1 unless it is done')
    .argument(...jobArgument)
    .action(async (id: string, _options, self: Command) => {
      const job = await (await import('./show-jobs.ts')).watchJob(self, await client(), id);
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
      (await import('./show-jobs.ts')).listJobs(command, items);
    });
  withExamples(list, 'stathera jobs list --state running', 'stathera jobs list --service');
}

interface ListOptions {
  readonly state?: (typeof states)[number];
  readonly kind?: string;
  readonly service?: true;
}
