import { readFileSync, realpathSync } from 'node:fs';

/** The file system that holds a path. */
export interface Mount {
  readonly type: string;
  readonly options: readonly string[];
}

/** As /proc tells; undefined where there is none. */
export function mountOf(path: string): Mount | undefined {
  try {
    return findMount(readFileSync('/proc/self/mountinfo', 'utf8'), realpathSync(path));
  } catch {
    return undefined;
  }
}

/** proc_pid_mountinfo(5): `id parent dev root MOUNTPOINT OPTIONS [tag…] - TYPE source SUPEROPTIONS`, spaces as \040. */
function findMount(mountinfo: string, path: string): Mount | undefined {
  let found: { point: string; mount: Mount } | undefined;
  for (const line of mountinfo.split('\n')) {
    const [ours = '', theirs = ''] = line.split(' - ');
    const [, , , , escaped, options] = ours.split(' ');
    const [type, , superOptions] = theirs.split(' ');
    if (escaped === undefined || options === undefined || type === undefined) continue;
    const point = escaped.replaceAll(/\\([0-7]{3})/g, (_, code: string) =>
      String.fromCharCode(Number.parseInt(code, 8)),
    );
    const holds = path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`);
    // The later of two on one place lies over the earlier.
    if (!holds || point.length < (found?.point.length ?? 0)) continue;
    found = { point, mount: { type, options: `${options},${superOptions ?? ''}`.split(',') } };
  }
  return found?.mount;
}
