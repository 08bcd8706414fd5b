/** Tries what the process that decrypts must not be able to do, under its arguments and its confinement. */
import { readFileSync, writeFileSync } from 'node:fs';
import { confine } from '../../../src/aggregate/queries/confinement.ts';

confine(process.argv[2] ?? '');

const inline: string = 'data:text/javascript,export default 1';
const tries: Readonly<Record<string, () => unknown>> = {
  readFile: () => readFileSync('/etc/hostname'),
  readOwn: () => readFileSync(new URL(import.meta.url)),
  writeFile: () => writeFileSync('/tmp/stathera-confined', ''),
  addon: () => process.dlopen({ exports: {} }, '/nothing.node'),
  builtin: () => process.getBuiltinModule('node:net'),
  fetch: () => fetch('http://127.0.0.1:9'),
  socket: () => new WebSocket('ws://127.0.0.1:9'),
  net: () => import('node:net'),
  http: () => import('http'),
  dgram: () => import('node:dgram'),
  dns: () => import('dns/promises'),
  childProcess: () => import('node:child_process'),
  workers: () => import('node:worker_threads'),
  cluster: () => import('node:cluster'),
  code: () => import('../../../src/hsm/pkcs11/adapter.ts'),
  data: () => import(inline),
};
const outcomes: Record<string, string> = {};
for (const [name, attempt] of Object.entries(tries)) {
  try {
    await attempt();
    outcomes[name] = 'done';
  } catch {
    outcomes[name] = 'refused';
  }
}
const { default: load } = await import('node-seal');
outcomes['seal'] = typeof (await load()).BatchEncoder === 'function' ? 'done' : 'refused';
process.send?.({ outcomes, environment: Object.keys(process.env) }, () => process.disconnect());
