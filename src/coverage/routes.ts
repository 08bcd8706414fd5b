import type { z } from 'zod';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { toTimestamp } from '../http/validation.ts';
import type { Coverage } from './coverage.ts';
import type { ReportView } from './report.ts';
import { coverageQuery, keyParams, reportAnswer, reportBody, reportsAnswer } from './routes-schemas.ts';

const tag = 'Coverage';

export function coverageRoutes(coverage: Coverage): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/coverage',
      operationId: 'reportCoverage',
      tag,
      summary: 'Report what a scan of one column found of the key’s ciphertexts',
      description:
        'Kept as evidence for the end of versions. It speaks of its place alone; of each place the latest report ' +
        'counts. Report a place that is gone once more, without rows.',
      idempotent: true,
      request: { params: keyParams, body: reportBody },
      answer: { status: 201, description: 'The report as it is kept.', body: reportAnswer },
      problems: ['key/not-found', 'coverage/too-many'],
      example: {
        place: { system: 'postgres', database: 'db.example:5432/shop', table: 'payments', column: 'card' },
        ...{ currentVersion: 1, agreed: true, scanSeconds: 0 },
        ...{ rows: 0, nulls: 0, foreign: 0, unreadable: 0, versions: [] },
      },
      handle: async ({ caller, params, body }) => reportOut(await coverage.report(caller, params.key, body)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/keys/{key}/coverage',
      operationId: 'listCoverage',
      tag,
      summary: 'List the coverage reports of a key, newest first',
      request: { params: keyParams, query: coverageQuery },
      answer: { status: 200, description: 'A page of reports.', body: reportsAnswer },
      problems: ['key/not-found'],
      async handle({ caller, params, query }) {
        const page = await coverage.list(caller, params.key, query);
        return { ...page, items: page.items.map(reportOut) };
      },
    }),
  ];
}

function reportOut({ scanStartedAt, createdAt, versions, place, ...report }: ReportView) {
  return {
    ...report,
    place: { ...place, system: place.system as z.output<typeof reportAnswer>['place']['system'] },
    versions: [...versions],
    scanStartedAt: toTimestamp(scanStartedAt),
    createdAt: toTimestamp(createdAt),
  } satisfies z.output<typeof reportAnswer>;
}
