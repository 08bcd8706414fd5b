import type { ClientHello } from './client-hello.ts';

/** A way to agree on keys in TLS 1.3, as IANA's registry of supported groups has it. */
export interface Group {
  readonly name: string;
  readonly id: number;
}

/** What clients get that have no post-quantum group. */
export type ClassicalClients = 'served' | 'refused';

/** X25519 and ML-KEM-768 together (draft-ietf-tls-ecdhe-mlkem). */
export const hybridGroup: Group = { name: 'X25519MLKEM768', id: 0x11ec };
const classicalGroup: Group = { name: 'X25519', id: 0x001d };

/** The groups of the service, the preferred one first. */
export function groupsFor(classicalClients: ClassicalClients): readonly Group[] {
  return classicalClients === 'served' ? [hybridGroup, classicalGroup] : [hybridGroup];
}

/**
 * The groups as OpenSSL 3.5 takes them. `/` ranks: a group that comes first is agreed on whenever the client knows it,
 * with a HelloRetryRequest where its key is not among those sent. With `:` a key that is there would win.
 * @see SSL_CTX_set1_groups_list(3)
 */
export function opensslGroups(groups: readonly Group[]): string {
  return groups.map(({ name }) => name).join('/');
}

/** What the service and a client agree on; undefined when they have no group in common. */
export function agreedGroup(groups: readonly Group[], hello: ClientHello): Group | undefined {
  return groups.find(({ id }) => hello.groups.includes(id));
}

export function isClassical(hello: ClientHello): boolean {
  return !hello.groups.includes(hybridGroup.id);
}
