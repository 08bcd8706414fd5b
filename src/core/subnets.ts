/** Addresses with a common beginning: CIDR, RFC 4632 and RFC 4291 §2.3. */
export interface Subnet {
  readonly address: string;
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** @returns undefined when one of them is none; an empty list for an empty text */
export function parseSubnets(text: string): Subnet[] | undefined {
  const subnets: Subnet[] = [];
  for (const part of text.split(',').map((each) => each.trim())) {
    if (part === '' && text.trim() === '') return [];
    const match = /^([0-9a-fA-F:.]{2,45})\/(\d{1,3})$/.exec(part);
    const subnet = match?.[1] === undefined ? undefined : subnetOf(match[1], Number(match[2]));
    if (!subnet) return undefined;
    subnets.push(subnet);
  }
  return subnets;
}

function subnetOf(address: string, prefix: number): Subnet | undefined {
  if (isV4(address)) return prefix <= 32 ? { address, prefix, family: 'ipv4' } : undefined;
  return isV6(address) && prefix <= 128 ? { address, prefix, family: 'ipv6' } : undefined;
}

function isV4(text: string): boolean {
  return /^(?:(?:0|[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])(?:\.(?!$)|$)){4}$/.test(text);
}

/** As URLs have it in brackets, which is the parser that everybody has. */
function isV6(text: string): boolean {
  return text.includes(':') && URL.canParse(`http://[${text}]/`);
}
