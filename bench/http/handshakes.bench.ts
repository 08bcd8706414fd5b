// What: new TLS connections, each with one small request, to the listener that reads each ClientHello and tells the
// group; full handshakes by X25519MLKEM768 and by X25519, and resumed ones; 8 clients at once. CPU of that process.
// Leaves out: a network, the audit log, authentication, hostile openings, other certificates than P-256.
// Floor: the same listener in a process of its own that leaves connections to node: nothing is read before OpenSSL,
// nothing told of the group. The client is this process, and takes a core from both.
// Run: node bench/http/handshakes.bench.ts
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type ConnectionOptions, connect } from 'node:tls';
import { bench } from '../support/bench.ts';
import type { Figure, RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';
import type { HandshakesOrder } from './handshakes-process.ts';

const milliseconds = 1_000;
const clients = 8;

/** One connection: its handshake, a request, the end. Resolves to the last ticket. */
function connectOnce(port: number, options: ConnectionOptions): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    let ticket: Buffer | undefined;
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
    socket.on('session', (session) => {
      ticket = session;
    });
    socket.on('secureConnect', () => {
      if (options.session !== undefined && !socket.isSessionReused()) reject(new Error('not resumed'));
      socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    });
    socket
      .on('data', () => {})
      .on('error', reject)
      .on('close', () => resolve(ticket));
  });
}

await bench('http/handshakes', async ({ directory, atEnd, progress }) => {
  const folder = directory();
  const files = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', files.keyFile];
  execFileSync(
    'openssl',
    ['req', '-x509', '-days', '2', ...key, '-out', files.certFile, '-subj', '/CN=localhost'],
    {
      stdio: 'ignore',
    },
  );

  async function start(observed: boolean) {
    const child = fork(join(import.meta.dirname, 'handshakes-process.ts'));
    atEnd(() => child.kill('SIGKILL'));
    const order: HandshakesOrder = { files, observed };
    child.send(order);
    const [port] = (await once(child, 'message')) as [number];
    const cpuMicros = async () => {
      child.send('cpu');
      const [micros] = (await once(child, 'message')) as [number];
      return micros;
    };
    return { port, cpuMicros };
  }

  const [ours, floor] = [await start(true), await start(false)];

  async function measure({ port, cpuMicros }: typeof ours, options: ConnectionOptions) {
    const cpu = await cpuMicros();
    const started = performance.now();
    let done = 0;
    const client = async () => {
      for (; performance.now() - started < milliseconds; done += 1) await connectOnce(port, options);
    };
    await Promise.all(Array.from({ length: clients }, client));
    const elapsed = performance.now() - started;
    return { rate: (done * 1000) / elapsed, cpu: ((await cpuMicros()) - cpu) / done };
  }

  const rows: RateRow[] = [];
  const figures: Figure[] = [];
  const subjects = ['X25519MLKEM768', 'X25519', 'X25519MLKEM768, resumed'];
  for (const what of subjects) {
    progress(what);
    const ecdhCurve = what.split(',')[0] ?? what;
    const optionsFor = async (port: number): Promise<ConnectionOptions> => {
      const session = what.endsWith('resumed') ? await connectOnce(port, { ecdhCurve }) : undefined;
      return { ecdhCurve, ...(session !== undefined && { session }) };
    };
    const options = { ours: await optionsFor(ours.port), floor: await optionsFor(floor.port) };
    await measure(ours, options.ours);
    await measure(floor, options.floor);
    const measured = await medianRound(async () => {
      const { rate: floorRate, cpu: floorCpuMicros } = await measure(floor, options.floor);
      const { rate, cpu: cpuMicros } = await measure(ours, options.ours);
      return { rate, cpuMicros, floor: floorRate, floorCpuMicros };
    });
    const { floorCpuMicros, ...row } = measured;
    rows.push({ what, ...row });
    figures.push({ what: `CPU of the floor, ${what}`, value: floorCpuMicros, unit: 'µs' });
  }
  return { rows, figures, setting: { rounds, milliseconds, clients } };
});
