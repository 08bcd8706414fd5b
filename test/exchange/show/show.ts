import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import {
  fingerprintOf,
  type SealingKey,
  sealFile,
  sealingKey,
  unsealFile,
  wrapKey,
} from '../../../src/client/node/index.ts';
import { runMain } from '../../support/data.ts';
import type { Told } from '../../support/demo.ts';
import { askClassically, type ClientEnd, sample, serverEnd, serverEnds, watchClientEnds } from './ends.ts';
import { codeOf, flipped, number, timed } from './outcome.ts';
import { openStage, type Stage } from './stage.ts';
import { digestOf, writeStatement } from './statement.ts';

const hybrid = 'X25519MLKEM768';
const inbox = 'receiver-inbox';
const statements = 'sender-statements';
const context = 'daily statement';
const contextBytes = new TextEncoder().encode(context);
const classicalClients = 'stathera_tls_classical_clients_total';

/** A sealed file on its way, and the SHA-256 of what is in it. */
interface Parcel {
  readonly sealed: string;
  readonly sha256: string;
}

interface Sent extends Parcel {
  readonly signature: Uint8Array;
  readonly signedBy: number;
}

/**
 * Shows a file that goes from one party to another so that who records it today cannot read it with tomorrow's
 * quantum computer, against a real service with TLS that it starts.
 * @param directory an empty one; the caller removes it
 */
export async function show(directory: string, told: Told): Promise<void> {
  const ends = watchClientEnds();
  try {
    told.step('A service with TLS; its token, certificate and callers');
    const stage = await openStage(directory, told);
    try {
      await play(stage, ends.seen);
    } finally {
      await stage.stop();
    }
  } finally {
    ends.stop();
  }
}

async function play(stage: Stage, ends: ReadonlyMap<string, ClientEnd>): Promise<void> {
  await showGroup(stage, ends);
  const from = await makeKeys(stage);
  const first = await send(stage, ends, from);
  await receive(stage, first, from);
  await forge(stage, first, from);
  const second = await rotate(stage, first, from);
  await countClassical(stage);
  const key = await bringKey(stage);
  await refuseClassical(stage, second, { from, key });
  await compareEnds(stage, ends);
}

async function showGroup({ told, as, url, log }: Stage, ends: ReadonlyMap<string, ClientEnd>): Promise<void> {
  await as('operator').listKeys();
  const [requestId = '', client] = [...ends].at(-1) ?? [];
  const server = await serverEnd(log, requestId);
  told.say(`it listens on ${url()}; one request, seen from both ends:`);
  told.check(
    `the client's TLS says ${client?.protocol} by ${client?.group}`,
    client?.protocol === 'TLSv1.3' && client.group === hybrid,
  );
  told.check(`the service's log says ${server.group} of the same request`, server.group === hybrid);
}

/** @returns what ties a file to its sender: the fingerprint of the key that signs */
async function makeKeys({ told, as }: Stage): Promise<string> {
  told.step('An exchange key of the receiver, a signing key of the sender');
  const operator = as('operator');
  await operator.createKey({ name: inbox, algorithm: 'x-wing' });
  await operator.createKey({ name: statements, algorithm: 'ml-dsa-65-ed25519' });
  const [open, verifying] = [
    await as('receiver').getPublicKey({ key: inbox }),
    await as('sender').getPublicKey({ key: statements }),
  ];
  for (const { suite, publicKey } of [open, verifying])
    told.say(`${suite}: a public key of ${number(publicKey.length)} bytes`);
  told.check('the exchange key is X-Wing, of 1,216 bytes', open.publicKey.length === 1216);
  told.check('the signing key is ML-DSA-65 and Ed25519, of 1,984 bytes', verifying.publicKey.length === 1984);
  return fingerprintOf(verifying.publicKey);
}

/** The public key as its owner hands it out, and as a sender takes it who was told its fingerprint. */
async function publicInbox({ as }: Stage): Promise<SealingKey> {
  const shown = await as('receiver').getPublicKey({ key: inbox });
  return sealingKey(shown, fingerprintOf(shown.publicKey));
}

const bound = (from: string) => ({ associatedData: new TextEncoder().encode(from) });

async function send(stage: Stage, ends: ReadonlyMap<string, ClientEnd>, from: string): Promise<Sent> {
  const { told, as, at } = stage;
  told.step('The sender seals a file to the public key, and signs what it sends');
  const [plain, sealed] = [at('statement-1.csv'), at('statement-1.csv.sealed')];
  const { sha256, bytes } = writeStatement(plain, '2026-01-30');
  const key = await publicInbox(stage);
  const before = ends.size;
  const [, sealing] = await timed(() => sealFile([key], { from: plain, to: sealed, ...bound(from) }));
  const sealedBytes = statSync(sealed).size;
  told.say(`${number(bytes)} bytes of payments, sealed ${number(sealedBytes)}, in ${sealing}`);
  told.check('sealing asked the service for nothing', ends.size === before);
  const [signed, signing] = await timed(async () => sign(stage, sealed));
  told.say(`a signature of ${number(signed.signature.length)} bytes over its SHA-512, in ${signing}`);
  told.check('the signature is of both algorithms', signed.signature.length === 3309 + 64);
  const opened = await codeOf(unsealFile(as('sender'), { from: sealed, to: at('refused'), ...bound(from) }));
  told.check(`the sender cannot open it: ${opened}`, opened === 'access/denied');
  return { sealed, sha256, signature: signed.signature, signedBy: signed.keyVersion };
}

async function sign({ as }: Stage, file: string) {
  return as('sender').sign({
    key: statements,
    digest: await digestOf(file, 'sha512'),
    context: contextBytes,
  });
}

function verify({ as }: Stage, signature: Uint8Array, digest: Uint8Array, version: number): Promise<string> {
  return codeOf(
    as('receiver').verify({ key: statements, version, digest, context: contextBytes, signature }),
  );
}

async function receive(stage: Stage, sent: Sent, from: string): Promise<void> {
  const { told, as, at } = stage;
  told.step('The receiver verifies the signature and opens the file, through the service');
  const { sealed, signature, signedBy } = sent;
  const [verdict, verifying] = await timed(async () =>
    verify(stage, signature, await digestOf(sealed, 'sha512'), signedBy),
  );
  told.check(`the signature holds (${verifying})`, verdict === 'done');
  const to = at('received-1.csv');
  const [, opening] = await timed(() => unsealFile(as('receiver'), { from: sealed, to, ...bound(from) }));
  const sha256 = (await digestOf(to, 'sha256')).toString('hex');
  told.say(`SHA-256 sent     ${sent.sha256}`);
  told.say(`SHA-256 received ${sha256}`);
  told.check(`the file is the one that was sent (${opening})`, sha256 === sent.sha256);
}

async function forge(stage: Stage, { sealed, signature, signedBy }: Sent, signer: string): Promise<void> {
  const { told, as, at } = stage;
  told.step('What somebody changed on the way is refused');
  const digest = await digestOf(sealed, 'sha512');
  for (const [half, place] of [
    ['ML-DSA-65', 100],
    ['Ed25519', 3309 + 40],
  ] as const) {
    const verdict = await verify(stage, flipped(signature, place), digest, signedBy);
    told.check(`one bit of the ${half} half changed: ${verdict}`, verdict === 'signature/invalid');
  }
  const changed = at('changed.sealed');
  const bytes = await readFile(sealed);
  await writeFile(changed, flipped(bytes, bytes.length - 1000));
  const verdict = await verify(stage, signature, await digestOf(changed, 'sha512'), signedBy);
  told.check(`one bit of the file changed: ${verdict}`, verdict === 'signature/invalid');
  for (const [what, from, sender] of [
    ['the changed file', changed, signer],
    ['the file as one of another sender', sealed, '0'.repeat(64)],
  ] as const) {
    const code = await codeOf(unsealFile(as('receiver'), { from, to: at('refused'), ...bound(sender) }));
    told.check(`${what} does not open: ${code}`, code === 'envelope/decryption-failed');
  }
  told.check('nothing of what was refused was written', !existsSync(at('refused')));
}

async function rotate(stage: Stage, first: Sent, from: string): Promise<Parcel> {
  const { told, as, at, command } = stage;
  told.step('The exchange key is rotated; the next file goes by the command line');
  const old = await publicInbox(stage);
  const { currentVersion } = await as('operator').rotateKey({ key: inbox });
  await writeFile(at('inbox.pub'), await command('receiver', 'keys', 'public-key', inbox));
  const { fingerprint } = await publicInbox(stage);
  const another = currentVersion === 2 && fingerprint !== old.fingerprint;
  told.check(`version ${currentVersion} has another public key`, another);
  const [plain, sealed] = [at('statement-2.csv'), at('statement-2.csv.sealed')];
  const { sha256 } = writeStatement(plain, '2026-02-02');
  const sealing = ['seal', '--to', at('inbox.pub'), '--fingerprint', fingerprint, plain];
  await runMain([...sealing, '--associated-data', from], { STATHERA_URL: 'http://127.0.0.1:9' });
  const signing = ['--key', statements, '--context', context, sealed];
  await command('sender', 'sign', ...signing);
  told.say((await command('receiver', 'verify', ...signing)).trim());
  await command('receiver', 'unseal', sealed, '-o', at('received-2.csv'), '--associated-data', from);
  const same = (await digestOf(at('received-2.csv'), 'sha256')).toString('hex') === sha256;
  told.check('the new file opens with the new version', same);
  told.check('the old file opens with the old one', await opens(stage, first, from));
  await as('operator').updateKeyVersion({ key: inbox, version: 1, state: 'disabled' });
  const closed = await codeOf(
    unsealFile(as('receiver'), { from: first.sealed, to: at('refused'), ...bound(from) }),
  );
  told.check(`with version 1 disabled the old file is refused: ${closed}`, closed === 'key/version-disabled');
  return { sealed, sha256 };
}

async function opens({ as, at }: Stage, { sealed, sha256 }: Parcel, from: string): Promise<boolean> {
  const to = at('again.csv');
  await unsealFile(as('receiver'), { from: sealed, to, overwrite: true, ...bound(from) });
  return (await digestOf(to, 'sha256')).toString('hex') === sha256;
}

/** A request of a client from before: X25519 is all it has. */
async function askAsBefore({ url, ca, tokenFile }: Stage) {
  const token = (await readFile(tokenFile('receiver'), 'utf8')).trim();
  const requestId = randomUUID();
  return { requestId, status: askClassically(`${url()}/v1/keys`, { ca, token, requestId }) };
}

async function countClassical(stage: Stage): Promise<void> {
  const { told, as, log } = stage;
  told.step('A client that has X25519 alone is served, and counted');
  const counted = async () =>
    sample(await as('operator').service.metrics(), `${classicalClients}{outcome="served"}`);
  const before = await counted();
  const { requestId, status } = await askAsBefore(stage);
  const [answered, after] = [await status, await counted()];
  told.check(`it is answered with ${answered}`, answered === 200);
  told.check(`${classicalClients} was ${before} and is ${after}`, before === 0 && after === 1);
  const { group } = await serverEnd(log, requestId);
  told.check(`the log has its request with ${group}`, group === 'X25519');
}

/** @returns the key, which its owner still has */
async function bringKey({ told, as }: Stage): Promise<Buffer> {
  told.step('A key that was made elsewhere comes in, sealed to X-Wing');
  const partner = as('partner');
  const key = randomBytes(32);
  await partner.createKey({ name: 'partner-mac', algorithm: 'hmac-sha-256', origin: 'external' });
  const parameters = await partner.getImportParameters({ key: 'partner-mac' });
  const wrapped = await wrapKey(parameters, key);
  told.say(
    `for one import: ${parameters.suite}, a public key of ${number(parameters.publicKey.length)} bytes`,
  );
  told.say(`the key of ${key.length} bytes travels as ${number(wrapped.wrappedKey.length)}`);
  const imported = await partner.importKey({ key: 'partner-mac', ...wrapped });
  const checkValue = Buffer.from(imported.checkValue).toString('hex');
  told.check(`the service has the key with the check value ${checkValue}`, imported.currentVersion === 1);
  const [version] = (await partner.listKeyVersions({ key: 'partner-mac' })).items;
  told.check(`its version says where it came from: ${version?.origin}`, version?.origin === 'hpke-x-wing');
  const again = await codeOf(partner.importKey({ key: 'partner-mac', ...wrapped }));
  told.check(`a second import is refused: ${again}`, again === 'import/not-found');
  return key;
}

async function refuseClassical(
  stage: Stage,
  sent: Parcel,
  { from, key }: { from: string; key: Buffer },
): Promise<void> {
  const { told, as, restart } = stage;
  told.step('Started again, where classical clients are refused');
  await restart({ STATHERA_TLS_CLASSICAL_CLIENTS: 'refused' });
  const { status } = await askAsBefore(stage);
  const refused = await status.then(
    (answered) => `it is answered with ${answered}`,
    ({ message }: Error) => /handshake failure/.exec(message)?.[0] ?? message,
  );
  told.check(`it is refused: ${refused}`, refused === 'handshake failure');
  const counted = sample(await as('operator').service.metrics(), `${classicalClients}{outcome="refused"}`);
  told.check(`${classicalClients}{outcome="refused"} is ${counted}`, counted === 1);
  told.check('the file opens as before', await opens(stage, sent, from));
  const message = randomBytes(100);
  const { mac } = await as('partner').mac({ key: 'partner-mac', message });
  const own = createHmac('sha256', key).update(message).digest();
  told.check("the imported key's MAC is the one that its owner makes", own.equals(mac));
}

async function compareEnds(
  { told, stop, log, dataDir }: Stage,
  ends: ReadonlyMap<string, ClientEnd>,
): Promise<void> {
  told.step('All requests, from both ends, and the audit log');
  const code = await stop();
  told.check(`the service ended with ${code}`, code === 0);
  const server = serverEnds(log());
  const groups = new Map<string, number>();
  for (const { group = 'none' } of server.values()) groups.set(group, (groups.get(group) ?? 0) + 1);
  for (const [group, requests] of groups) told.say(`requests in the service's log by ${group}: ${requests}`);
  told.check('all but one came by X25519MLKEM768', groups.get('X25519') === 1 && groups.size === 2);
  const agreed = [...ends].filter(([id, { group }]) => server.get(id)?.group === group).length;
  told.check(
    `of ${ends.size} requests made here, both ends name one group for ${agreed}`,
    agreed === ends.size,
  );
  const verified = await runMain(['audit', 'verify'], { STATHERA_DATA_DIR: dataDir }, { allowFailure: true });
  const records = /(\d+) records/.exec(verified.stdout)?.[1];
  told.check(`the audit log of ${records ?? 'no'} records is whole`, verified.code === 0);
}
