import type { AuditLog } from './audit/audit.ts';
import type { Metrics } from './core/metrics.ts';
import type { Hsm } from './hsm/hsm.ts';
import type { Revision } from './store/revision.ts';

/** What the parts of the service say of themselves at each reading of the measurements. */
export function exposeParts(
  metrics: Metrics,
  { hsm, audit, revision }: { hsm: Hsm; audit: AuditLog; revision: Revision },
): void {
  const gauge = (name: string, help: string) => metrics.gauge({ name, help }).with({});
  const hsmReady = gauge('stathera_hsm_ready', '1 while the HSM takes operations');
  const hsmQueued = gauge('stathera_hsm_queued', 'Operations waiting for the HSM');
  const hsmHandles = gauge('stathera_hsm_handles', 'Unwrapped keys held in the token');
  const hsmMisses = gauge('stathera_hsm_handle_misses', 'Keys that had to be unwrapped since the start');
  const hsmGeneration = gauge('stathera_hsm_generation', 'Times the HSM was initialized');
  const auditReady = gauge('stathera_audit_ready', '1 while the audit log can be written');
  const auditQueued = gauge('stathera_audit_queued', 'Audit records waiting to be written');
  const auditAppended = gauge('stathera_audit_appended', 'Audit records written since the start');
  const auditUnsigned = gauge(
    'stathera_audit_unsigned_groups',
    'Group commits written without a MAC of the HSM',
  );
  const staleSeconds = gauge('stathera_store_stale_seconds', 'Since the changes of the store were read last');
  const touched = gauge('stathera_store_touched', 'Rows changed since the start, as told to this process');
  const lost = gauge(
    'stathera_store_forgotten',
    'Times since the start that everything in memory was forgotten',
  );
  metrics.onCollect(() => {
    const { staleMilliseconds, ...counts } = revision.status();
    staleSeconds.set(staleMilliseconds / 1000);
    touched.set(counts.touched);
    lost.set(counts.lost);
    const status = hsm.status();
    hsmReady.set(status.state === 'ready' ? 1 : 0);
    hsmQueued.set(status.queued);
    hsmHandles.set(status.handles.cached);
    hsmMisses.set(status.handles.misses);
    hsmGeneration.set(status.generation);
    const log = audit.status();
    auditReady.set(log.state === 'ready' ? 1 : 0);
    auditQueued.set(log.queued);
    auditAppended.set(log.appended);
    auditUnsigned.set(log.unsignedGroups);
  });
}
