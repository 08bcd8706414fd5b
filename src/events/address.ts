import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import type { Subnet } from '../core/subnets.ts';

/** Where a delivery may go: an address that was looked at is the one that is connected to. */
export interface Addresses {
  /** Why the URL may not be a webhook's; undefined where it may. Nothing is asked of the network. */
  refusal(url: string): string | undefined;
  /** @returns an address of the host that may be connected to; undefined where it has none */
  resolve(url: URL): Promise<{ readonly address: string; readonly family: 4 | 6 } | undefined>;
}

/** IANA's special-purpose addresses (RFC 6890), and IPv4 in IPv6, by which those could be reached. */
const special = subnets(
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'],
  ...['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15'],
  ...['198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  ...['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'],
);
/** What IPv6 has of global unicast (RFC 4291 §2.4); all else is special. */
const globalV6 = subnets('2000::/3');
const loopback = subnets('127.0.0.0/8', '::1/128');

export function createAddresses(allowed: readonly Subnet[]): Addresses {
  const own = new BlockList();
  for (const { address, prefix, family } of allowed) own.addSubnet(address, prefix, family);

  function isAllowed(address: string, secure: boolean): boolean {
    const plain = address.toLowerCase().startsWith('::ffff:') ? address.slice(7) : address;
    const family = isIP(plain) === 6 ? 'ipv6' : 'ipv4';
    if (isIP(plain) === 0) return false;
    if (own.check(plain, family)) return secure || loopback.check(plain, family);
    if (!secure) return false;
    return family === 'ipv4'
      ? !special.check(plain, 'ipv4')
      : globalV6.check(plain, 'ipv6') && !special.check(plain, 'ipv6');
  }

  return {
    refusal(text) {
      const url = URL.canParse(text) ? new URL(text) : undefined;
      if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) return 'It must be an https URL.';
      if (url.username !== '' || url.password !== '' || url.hash !== '')
        return 'It must have neither user and password nor a fragment.';
      const host = hostOf(url);
      if (isIP(host) !== 0)
        return isAllowed(host, url.protocol === 'https:') ? undefined : 'Its address is not allowed.';
      // A name is looked up at each delivery, and in clear leads to loopback at most.
      if (url.protocol === 'http:' && host !== 'localhost') return 'It must be an https URL.';
      return undefined;
    },
    async resolve(url) {
      const found = await lookup(hostOf(url), { all: true });
      // One that is not allowed makes none of them trustworthy.
      if (!found.every(({ address }) => isAllowed(address, url.protocol === 'https:'))) return undefined;
      const [first] = found;
      return first && { address: first.address, family: first.family === 6 ? 6 : 4 };
    },
  };
}

function hostOf({ hostname }: URL): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}

function subnets(...texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const [address = '', prefix] = text.split('/');
    list.addSubnet(address, Number(prefix), address.includes(':') ? 'ipv6' : 'ipv4');
  }
  return list;
}
