import { z } from 'zod';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { toTimestamp } from '../http/validation.ts';
import type { Jobs } from './jobs.ts';
import { jobAnswer, jobParams, jobsAnswer, jobsQuery } from './routes-schemas.ts';
import type { JobView } from './view.ts';

const tag = 'Jobs';

export function jobRoutes(jobs: Jobs): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/jobs',
      operationId: 'listJobs',
      tag,
      summary: 'List the jobs of the namespace, oldest first',
      request: { query: jobsQuery },
      answer: { status: 200, description: 'A page of jobs.', body: jobsAnswer },
      problems: [],
      async handle({ caller, query: { service, ...query } }) {
        const page = await jobs.list(caller, { ...query, service: service === 'true' });
        return { ...page, items: page.items.map(jobOut) };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/jobs/{id}',
      operationId: 'getJob',
      tag,
      summary: 'How far a job is',
      request: { params: jobParams },
      answer: { status: 200, description: 'The job.', body: jobAnswer },
      problems: ['job/not-found'],
      handle: async ({ caller, params }) => jobOut(await jobs.get(caller, params.id)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/jobs/{id}/cancel',
      operationId: 'cancelJob',
      tag,
      summary: 'Cancel a job; nothing of it takes effect from the moment this is answered',
      description: 'What it did stays. To cancel it again changes nothing.',
      request: { params: jobParams, body: z.strictObject({}) },
      answer: { status: 200, description: 'The job.', body: jobAnswer },
      problems: ['job/not-found', 'job/finished'],
      handle: async ({ caller, params }) => jobOut(await jobs.cancel(caller, params.id)),
    }),
  ];
}

function jobOut({ createdAt, startedAt, finishedAt, result, chunks, ...job }: JobView) {
  return {
    ...job,
    chunks: { ...chunks },
    createdAt: toTimestamp(createdAt),
    ...(startedAt !== undefined && { startedAt: toTimestamp(startedAt) }),
    ...(finishedAt !== undefined && { finishedAt: toTimestamp(finishedAt) }),
    ...(result !== undefined && { result }),
  } satisfies z.output<typeof jobAnswer>;
}
