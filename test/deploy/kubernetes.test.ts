import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { systemPaths } from '../../src/http/openapi-parts.ts';
import { version } from '../../src/version.ts';
import { instructionsOf, lastOf } from '../container/dockerfile.ts';
import { projectRoot } from '../support/data.ts';
import { faultsOf, type Manifest, readManifests } from './manifests.ts';

const read = (path: string) => readFileSync(join(projectRoot, path), 'utf8');
const files = globSync('docs/deploy/kubernetes/**/*.yaml', { cwd: projectRoot });
const manifests = files.flatMap((file) => readManifests(read(file)));

function find(kind: string, name = 'stathera'): Manifest {
  const found = manifests.find((each) => each.kind === kind && each.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

const settings = find('ConfigMap').data ?? {};
const set = find('StatefulSet');
const deployment = find('Deployment');
const setup = find('Pod', 'stathera-setup');
const serving = [set.spec.template.spec, deployment.spec.template.spec];
const pods = [...serving, setup.spec];
const containersOf = (pod: Manifest['spec']) => [...(pod.initContainers ?? []), ...pod.containers];

/** The settings a container starts with. */
function environmentOf(container: Manifest['spec']): Record<string, string> {
  const own = (container.env ?? []) as { name: string; value: string }[];
  return { ...settings, ...Object.fromEntries(own.map(({ name, value }) => [name, value])) };
}

/** Guarantees that Kubernetes takes every object: no field is misspelt, none has another type. */
test.each(files)('%s is as the schema wants it', (file) => {
  const found = readManifests(read(file));
  expect(found.length).toBeGreaterThan(0);
  expect(found.flatMap(faultsOf)).toEqual([]);
});

/** Guarantees that the schema notices what Kubernetes would refuse, at any depth. */
test.each([
  ['a misspelt field', 'readOnlyRootFilesystem:', 'readonlyRootFilesystem:', 'additional properties'],
  ['a field at another place', 'terminationGracePeriodSeconds: 60', 'maxUnavailable: 1', 'additional'],
  ['a text for a number', 'periodSeconds: 10', "periodSeconds: '10'", 'must be integer'],
  ['a number for a text', 'path: /readyz', 'path: 1', 'must be string'],
  ['a text for a list', 'args: [serve]', 'args: serve', 'must be array'],
  ['a required field left out', '- name: tls\n          secret:', '- secret:', "'name'"],
  ['an unknown kind', 'kind: StatefulSet', 'kind: Statefulset', 'no kind'],
])('%s is noticed', (_, from, to, complaint) => {
  const text = read('docs/deploy/kubernetes/token-per-node/statefulset.yaml');
  expect(text).toContain(from);
  const faults = readManifests(text.replace(from, to)).flatMap(faultsOf);
  expect(faults.join('\n')).toContain(complaint);
});

/** Guarantees that a key which is there twice is noticed: Kubernetes takes one of the two in silence. */
test('a field that is there twice is noticed', () => {
  expect(() => readManifests('kind: Pod\nkind: Service\n')).toThrow('unique');
});

/** Guarantees that the service starts with the settings: each exists and has a value that it takes. */
test('the settings are the service’s', () => {
  for (const pod of pods) {
    // Else Kubernetes sets STATHERA_SERVICE_HOST and more for the service of that name.
    expect(pod.enableServiceLinks).toBe(false);
    const [container] = pod.containers;
    expect(container.envFrom).toEqual([{ configMapRef: { name: 'stathera' } }]);
    const config = readConfig(environmentOf(container));
    expect([config.database.kind, config.tls?.certFile]).toEqual(['postgres', '/etc/stathera/tls/tls.crt']);
  }
  expect(() => readConfig({ ...settings, STATHERA_PORT: 'tcp://10.0.0.1:443' })).toThrow('no such setting');
});

/** Guarantees that every file the settings name is there: in a secret, or made in the node's own directory. */
test('the files of the settings are mounted', () => {
  for (const pod of pods) {
    const [container] = pod.containers;
    const environment = environmentOf(container);
    const mounts = container.volumeMounts as { name: string; mountPath: string; subPath?: string }[];
    const mountOf = (file = '') => mounts.find(({ mountPath }) => mountPath === dirname(file));
    const named = Object.entries(environment).filter(([name]) => name.endsWith('_FILE'));
    expect(named.length).toBeGreaterThan(3);
    for (const [name, file] of named) {
      const mount = mountOf(file);
      const volume = pod.volumes.find((each: { name: string }) => each.name === mount?.name);
      // A subPath would keep what was in the secret at the start.
      expect(mount?.subPath).toBeUndefined();
      if (name !== 'STATHERA_PKCS11_PIN_FILE') expect(volume.secret.defaultMode).toBe(0o440);
    }
    expect(mountOf(environment['STATHERA_DATA_DIR'])?.name).toBe('data');
  }
});

/** Guarantees that a refused PIN is remembered: the service can write beside its copy, not beside the secret. */
test('the PIN is a copy', () => {
  const [copy, init] = deployment.spec.template.spec.initContainers;
  const [program, mode, from, to] = copy.command;
  expect([program, mode, to]).toEqual([
    'install',
    '--mode=0600',
    environmentOf(init)['STATHERA_PKCS11_PIN_FILE'],
  ]);
  const mounts = copy.volumeMounts as { mountPath: string; readOnly?: boolean }[];
  expect(mounts.find(({ mountPath }) => mountPath === dirname(to))?.readOnly).toBeUndefined();
  expect(mounts.find(({ mountPath }) => mountPath === dirname(from))?.readOnly).toBe(true);
  expect(init.args).toEqual(['init']);
});

/** Guarantees that what is set up is what the node starts with, and that it stays when pods go. */
test('the volume of the set-up is the node’s', () => {
  const [template] = set.spec.volumeClaimTemplates;
  const claim = find('PersistentVolumeClaim', `${template.metadata.name}-${set.metadata.name}-0`);
  expect(claim.spec).toEqual(template.spec);
  expect(setup.spec.volumes).toContainEqual({
    name: 'data',
    persistentVolumeClaim: { claimName: claim.metadata.name },
  });
  expect(set.spec.persistentVolumeClaimRetentionPolicy).toEqual({
    whenDeleted: 'Retain',
    whenScaled: 'Retain',
  });
  for (const { spec } of [set, deployment]) expect(spec.replicas).toBeUndefined();
});

/** Guarantees that the pods are those of the image, without rights: what Kubernetes calls `restricted`, and more. */
test('the pods are held in', () => {
  const user = Number(lastOf(instructionsOf(read('Dockerfile')), 'USER')?.split(':')[0]);
  for (const pod of pods) {
    expect(pod.securityContext).toEqual({
      runAsNonRoot: true,
      ...{ runAsUser: user, runAsGroup: user, fsGroup: user },
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(pod.automountServiceAccountToken).toBe(false);
    for (const key of ['hostNetwork', 'hostPID', 'hostIPC']) expect(pod[key]).toBeUndefined();
    for (const container of containersOf(pod)) {
      expect(container.image).toMatch(new RegExp(`:${version.replaceAll('.', String.raw`\.`)}$`));
      expect(container.resources.limits.memory).toBeDefined();
      expect(container.securityContext).toEqual({
        ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
        capabilities: { drop: ['ALL'] },
      });
    }
  }
});

/** Guarantees that the probes ask for what the service answers, and that only a dead process is killed for it. */
test('the probes ask what is there', () => {
  for (const [container] of serving.map(({ containers }) => containers)) {
    const probes = ['startupProbe', 'livenessProbe', 'readinessProbe'].map((name) => container[name].httpGet);
    for (const { path, port, scheme } of probes) {
      expect(systemPaths).toHaveProperty([path]);
      expect([port, scheme]).toEqual([container.ports[0].name, 'HTTPS']);
    }
    expect(probes.map(({ path }) => path)).toEqual(['/healthz', '/healthz', '/readyz']);
    expect(container.ports[0].containerPort).toBe(readConfig(settings).listen.port);
  }
});

/** After the requests: records are written, the HSM is left (src/cli/serve.ts). */
const closeSeconds = 20;

/** Guarantees that a pod is not killed while it stops in order. */
test('there is time to stop', () => {
  for (const { terminationGracePeriodSeconds, containers } of serving) {
    const before = containers[0].lifecycle.preStop.sleep.seconds;
    expect(terminationGracePeriodSeconds).toBeGreaterThan(
      before + readConfig(settings).shutdownMs / 1000 + closeSeconds,
    );
  }
});

/** Guarantees that the objects find each other: callers the pods, the policy and the budget too. */
test('the objects belong together', () => {
  const { labels } = set.spec.template.metadata;
  for (const { spec } of [set, deployment]) {
    expect([spec.selector.matchLabels, spec.template.metadata.labels]).toEqual([labels, labels]);
  }
  expect(find('PodDisruptionBudget').spec.selector.matchLabels).toEqual(labels);
  for (const name of ['stathera', set.spec.serviceName]) {
    const { spec } = find('Service', name);
    expect([spec.selector, spec.ports[0].targetPort]).toEqual([labels, 'https']);
  }
  const policy = find('NetworkPolicy').spec;
  // No caller is sent to the pod of the set-up, but the policy is for it as well.
  const own = setup.metadata.labels?.['app.kubernetes.io/name'];
  expect(own).not.toBe(labels['app.kubernetes.io/name']);
  expect(policy.podSelector.matchExpressions[0].values).toEqual([labels['app.kubernetes.io/name'], own]);
  expect(policy.policyTypes).toEqual(['Ingress', 'Egress']);
  expect(policy.ingress[0].ports).toEqual([{ port: readConfig(settings).listen.port }]);
});
