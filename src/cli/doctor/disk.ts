import { closeSync, fdatasyncSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Config } from '../../config.ts';
import { type Finding, failed, ok, unchecked, warning } from './finding.ts';
import { type Mount, mountOf } from './mounts.ts';

const lowDiskBytes = 512 * 1024 * 1024;
const lowDiskShare = 0.1;

const syncs = 20;
const syncsWithinMs = 2_000;
/** A flash drive with a protected cache takes 30 µs or more; nothing that reaches a device takes less than this. */
const implausiblyFastMs = 0.02;
const slowMs = 50;

/** Each disk that the data directory, the log and the database are on. */
export async function checkDisks(config: Config): Promise<Finding[]> {
  const disks = new Map<number, string>();
  const { dataDir, database } = config;
  const places = [
    dataDir,
    join(dataDir, 'audit'),
    ...(database.kind === 'sqlite' ? [dirname(database.file)] : []),
  ];
  for (const path of places) {
    const device = statSync(path, { throwIfNoEntry: false })?.dev;
    if (device !== undefined && !disks.has(device)) disks.set(device, path);
  }
  return [...disks.values()].flatMap((path) => [checkRoom(path), checkSync(path)]);
}

function checkRoom(path: string): Finding {
  const { bavail, blocks, bsize } = statfsSync(path);
  const free = bavail * bsize;
  const text = `${Math.round(free / 1024 / 1024)} MiB free at ${path}`;
  if (free >= lowDiskBytes && bavail >= blocks * lowDiskShare) return ok('disk room', text);
  const next = 'make room or a larger disk: without any, the audit log refuses every operation';
  return warning('disk room', text, next);
}

function checkSync(path: string): Finding {
  let medianMs: number;
  try {
    medianMs = measureSync(path);
  } catch {
    return unchecked(
      'disk sync',
      `${path} cannot be written by this user`,
      'run it as the user of the service',
    );
  }
  return judgeSync(path, medianMs, mountOf(path));
}

/** The median time of a sync of one written block, as the audit log does it. @throws */
function measureSync(path: string): number {
  const file = join(path, `.doctor-${process.pid}`);
  const descriptor = openSync(file, 'wx', 0o600);
  try {
    // Without a name from here on: nothing is left, however this ends.
    rmSync(file);
    const block = Buffer.alloc(4096, 1);
    const times: number[] = [];
    const start = performance.now();
    while (times.length < syncs && performance.now() - start < syncsWithinMs) {
      writeSync(descriptor, block);
      const before = performance.now();
      fdatasyncSync(descriptor);
      times.push(performance.now() - before);
    }
    return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
  } finally {
    closeSync(descriptor);
  }
}

const memory = /^(?:tmpfs|ramfs)$/;
const network = /^(?:nfs4?|cifs|smb3|smbfs|9p|ceph|afs|lustre|glusterfs|fuse\.(?!fuse-overlayfs$).*)$/;

/** What is known of the file system first: it explains how long a sync takes. */
function judgeSync(path: string, medianMs: number, mount: Mount | undefined): Finding {
  const check = 'disk sync';
  const took = medianMs < 1 ? `${Math.round(medianMs * 1000)} µs` : `${medianMs.toFixed(1)} ms`;
  const text = `${took} a sync at ${path}${mount ? ` (${mount.type})` : ''}`;
  if (mount !== undefined && memory.test(mount.type)) {
    return failed(
      check,
      `${text}: it is in memory, and ends with the machine`,
      'use a disk; this is for tests only',
    );
  }
  if (mount?.type === 'overlay') {
    return failed(check, `${text}: the container’s own layer, which ends with it`, 'put a volume there');
  }
  if (mount !== undefined && network.test(mount.type)) {
    const next = 'use this machine’s own disk: SQLite and SoftHSM need one, and a sync may promise less';
    return warning(check, `${text}: a network or user-space file system`, next);
  }
  if (mount?.options.some((option) => option === 'nobarrier' || option === 'barrier=0')) {
    return warning(
      check,
      `${text}: mounted with nobarrier`,
      'mount it with barriers, unless its cache is protected',
    );
  }
  if (medianMs < implausiblyFastMs) {
    const next =
      'find out who answers before the data are durable: eatmydata, a file system or a disk that lies';
    return warning(check, `${text}: faster than a disk can be`, next);
  }
  return medianMs > slowMs
    ? warning(
        check,
        `${text}: every group of operations waits for one`,
        'use a faster disk, or one that is not shared',
      )
    : ok(check, text);
}
