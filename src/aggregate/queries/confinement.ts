import { registerHooks } from 'node:module';

/** What SEAL's loader asks for. */
const builtins: ReadonlySet<string> = new Set(['module', 'fs', 'path', 'url', 'crypto']);
const named = /^(?:node:)?(.*)$/;

/**
 * From now on this process loads SEAL and nothing else: no module that speaks to a network, starts a process or a
 * thread. Node's permission model, which the process is started under, forbids files, processes, threads and addons;
 * networks it forbids from Node 25 on. Both hold against code that is led astray, not against one that runs as it likes
 * in the process.
 * @param sealUrl where node-seal is, since the process may not look for it
 */
export function confine(sealUrl: string): void {
  const own = sealUrl.slice(0, sealUrl.lastIndexOf('/') + 1);
  for (const name of ['fetch', 'WebSocket', 'EventSource']) Reflect.deleteProperty(globalThis, name);
  process.getBuiltinModule = refuse;
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier === 'node-seal') return { url: sealUrl, format: 'module', shortCircuit: true };
      const name = named.exec(specifier)?.[1] ?? specifier;
      if (builtins.has(name)) return next(specifier, context);
      const resolved = next(specifier, context);
      if (!resolved.url.startsWith(own)) refuse();
      return resolved;
    },
  });
}

function refuse(): never {
  throw new Error('nothing more is loaded here');
}
