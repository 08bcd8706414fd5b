import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { text as readText } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ciphertextBytes, headerBytes } from '../../src/crypto/homomorphic/ciphertext.ts';
import { parameterSets } from '../../src/crypto/homomorphic/parameters.ts';
import { openBgv } from '../../src/crypto/homomorphic/seal.ts';
import { prologueBytes } from '../../src/crypto/homomorphic/upload.ts';
import { auditRecords, makeNamespace, makeToken, member, rowsOf } from '../access/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { epochKey, makeDataset, salaries, send, set, uploadFor, uploadOf } from './support.ts';

let service: TestService;
beforeAll(async () => {
  service = await startTestService();
});
afterAll(() => service.dispose());

const contributor = () => makeToken(service, { scopes: ['datasets:contribute'] });
const ciphertextsOf = (upload: Uint8Array): Uint8Array => upload.subarray(prologueBytes);

/** What the database has of an epoch: how many it counts, contributions, and ciphertexts. */
async function kept(dataset: string): Promise<number[]> {
  const [row] = await rowsOf(
    service,
    `select e.contributions as counted,
      (select count(*) from contributions c where c.epoch_id = e.id) as rows,
      (select count(*) from contribution_ciphertexts t where t.epoch_id = e.id) as ciphertexts
    from dataset_epochs e join datasets d on d.id = e.dataset_id where d.name = $1`,
    dataset,
  );
  return [row!['counted'], row!['rows'], row!['ciphertexts']].map(Number);
}

/**
 * Guarantees that a contribution is kept as it came, once, however often and however many at a time it is sent, that
 * another one in its place is refused, and that each try is on record.
 */
test('a contribution counts once', async () => {
  const dataset = await makeDataset(service);
  const { id, secret: token } = await contributor();
  const key = await epochKey(service, dataset, token);
  expect(key.contributorId).toBe(id);
  const upload = await uploadFor(key);
  const answers = await Promise.all(
    Array.from({ length: 6 }, () => send(service, dataset, upload, { token })),
  );
  const again = await send(service, dataset, upload, { token });
  for (const answer of answers) expect([answer.status, answer.body]).toEqual([201, again.body]);
  expect(again.body).toMatchObject({ contributorId: id, epoch: 1, ordinal: 1, ciphertexts: 1 });
  const other = await send(service, dataset, await uploadFor(key), { token });
  expect([other.status, other.body['code']]).toEqual([409, 'contribution/exists']);
  expect(await kept(dataset)).toEqual([1, 1, 1]);
  const [stored] = await rowsOf(
    service,
    'select t.residues, t.digest from contribution_ciphertexts t join contributions c on c.id = t.contribution_id ' +
      'where c.contributor_id = $1',
    id,
  );
  const residues = ciphertextsOf(upload).subarray(headerBytes);
  expect(Buffer.compare(Buffer.from(stored!['residues'] as Uint8Array), residues)).toBe(0);
  expect(stored!['digest']).toEqual(createHash('sha256').update(residues).digest());
  const records = await auditRecords(service, { principalId: id, action: 'datasets.contribute' });
  expect(records.filter(({ outcome }) => outcome === 'allowed')).toHaveLength(7);
  expect(records[0]).toMatchObject({ outcome: 'refused', target: { name: dataset, version: 1 } });
});

/** Guarantees that each contributor has its own place, as many as it may have, and an epoch as many as it takes. */
test('an epoch takes so many and no more', async () => {
  const policy = { ...salaries.policy, contributions: 5, contributionsPerContributor: 3, minimumCohort: 5 };
  const dataset = await makeDataset(service, { policy });
  const contributors = await Promise.all([contributor(), contributor(), contributor()]);
  const uploads = await Promise.all(
    contributors.flatMap(({ secret: token }) =>
      [1, 2].map(async (ordinal) => {
        const upload = await uploadFor(await epochKey(service, dataset, token), { ordinal });
        return { token, ordinal, upload };
      }),
    ),
  );
  // All six at once for five places.
  const answers = await Promise.all(
    uploads.map(({ token, ordinal, upload }) => send(service, dataset, upload, { token, ordinal })),
  );
  const codes = answers.map((answer) => member(answer, 'code') ?? String(answer.status)).toSorted();
  expect(codes).toEqual(['201', '201', '201', '201', '201', 'contribution/too-many']);
  expect(await kept(dataset)).toEqual([5, 5, 5]);
  const { token } = uploads[0]!;
  const fourth = await uploadFor(await epochKey(service, dataset, token), { ordinal: 4 });
  const answer = await send(service, dataset, fourth, { token, ordinal: 4 });
  expect([answer.status, answer.body['code']]).toEqual([409, 'contribution/too-many']);
});

/** Guarantees that what is not a contribution of this contributor, epoch, number, form and parameters is refused, whole. */
test('everything else is refused', async () => {
  const dataset = await makeDataset(service);
  const { secret: token, id } = await contributor();
  const key = await epochKey(service, dataset, token);
  const upload = await uploadFor(key);
  const good = ciphertextsOf(upload);
  const otherKey = await epochKey(service, await makeDataset(service), token);
  const larger = parameterSets['bgv-4096-109'];
  const bgv = await openBgv(larger);
  const ofLarger = bgv.encryptor(bgv.generateKeys().publicKey).encrypt(new BigInt64Array(4096));
  const changed = (change: (ciphertext: Buffer) => void): Buffer => {
    const copy = Buffer.from(good);
    change(copy);
    return uploadOf(key, 1, [copy]);
  };
  const word = (at: number) => headerBytes + at * 8;
  const refused: Readonly<Record<string, Uint8Array>> = {
    'nothing but its beginning': upload.subarray(0, prologueBytes),
    'one byte short': upload.subarray(0, -1),
    'one byte more': Buffer.concat([upload, Buffer.of(0)]),
    'two ciphertexts': uploadOf(key, 1, [good, good]),
    'without its beginning': good,
    'another beginning': Buffer.concat([Buffer.from('SKMSAGG\u0002'), upload.subarray(8)]),
    'for another contributor': uploadOf(
      { ...key, contributorId: id.replace(/.$/, (last) => (last === '0' ? '1' : '0')) },
      1,
      [good],
    ),
    'for another number': uploadOf(key, 2, [good]),
    'for another dataset': uploadOf(otherKey, 1, [good]),
    'of other parameters': uploadOf(key, 1, [ofLarger]),
    'of other parameters under this header': uploadOf(key, 1, [
      Buffer.concat([good.subarray(0, headerBytes), ofLarger.subarray(headerBytes)]),
    ]),
    'compressed, it says': changed((ciphertext) => void ciphertext.writeUInt8(1, 5)),
    'of three polynomials, it says': changed((ciphertext) => void ciphertext.writeUInt8(3, 49)),
    'with a residue at its modulus': changed((ciphertext) => {
      ciphertext.writeBigUInt64LE(set.moduli[0], word(5));
    }),
    'with a residue at the other modulus': changed((ciphertext) => {
      ciphertext.writeBigUInt64LE(set.moduli[1], word(16_383));
    }),
    'with a word of ones': changed((ciphertext) => {
      ciphertext.writeBigUInt64LE(2n ** 64n - 1n, word(8_192));
    }),
    transparent: changed((ciphertext) => void ciphertext.fill(0, word(8_192))),
    'all zero': changed((ciphertext) => void ciphertext.fill(0, headerBytes)),
  };
  for (const [what, body] of Object.entries(refused)) {
    const answer = await send(service, dataset, body, { token });
    expect([what, answer.status, answer.body['code']]).toEqual([what, 422, 'contribution/refused']);
  }
  // None of the header's bytes may be another.
  await fc.assert(
    fc.asyncProperty(fc.nat(headerBytes - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const body = changed((ciphertext) => void ciphertext.writeUInt8(ciphertext[at]! ^ flip, at));
      const answer = await send(service, dataset, body, { token });
      expect(answer.body['code']).toBe('contribution/refused');
    }),
    { numRuns: 20 },
  );
  expect(await kept(dataset)).toEqual([0, 0, 0]);
  expect((await send(service, dataset, upload, { token })).status).toBe(201);
  // Another contributor's, bound to oneself.
  const thief = await contributor();
  const copied = uploadOf(await epochKey(service, dataset, thief.secret), 1, [good]);
  const answer = await send(service, dataset, copied, { token: thief.secret });
  expect([answer.status, answer.body['code']]).toEqual([422, 'contribution/refused']);
  expect(await kept(dataset)).toEqual([1, 1, 1]);
});

/** Guarantees that what was made for an epoch that ended is refused, in it and in the next, and that a retry is answered. */
test('an epoch that ended takes nothing', async () => {
  const dataset = await makeDataset(service);
  const [{ secret: first }, { secret: late }] = await Promise.all([contributor(), contributor()]);
  const before = await uploadFor(await epochKey(service, dataset, first));
  const tooLate = await uploadFor(await epochKey(service, dataset, late));
  const answered = await send(service, dataset, before, { token: first });
  const opened = await service.call('POST', `/v1/datasets/${dataset}/epochs`, {});
  expect([opened.status, opened.body]).toMatchObject([201, { epoch: 2, state: 'open', contributions: 0 }]);
  const closed = await send(service, dataset, tooLate, { token: late });
  expect([closed.status, closed.body['code']]).toEqual([409, 'dataset/epoch-closed']);
  const replayed = await send(service, dataset, tooLate, { token: late, epoch: 2 });
  expect([replayed.status, replayed.body['code']]).toEqual([422, 'contribution/refused']);
  const again = await send(service, dataset, before, { token: first });
  expect([again.status, again.body]).toEqual([201, answered.body]);
  const unknown = await send(service, dataset, tooLate, { token: late, epoch: 3 });
  expect([unknown.status, unknown.body['code']]).toEqual([404, 'dataset/epoch-not-found']);
  const fresh = await uploadFor(await epochKey(service, dataset, late));
  expect((await send(service, dataset, fresh, { token: late, epoch: 2 })).status).toBe(201);
});

/**
 * Guarantees that who is no contributor learns no more than who asks for a dataset that is not there; that an analyst,
 * who may see it, is denied; and that another namespace has nothing of it.
 */
test('only contributors contribute', async () => {
  const analyst = await makeToken(service, { scopes: ['datasets:contribute', 'datasets:query'] });
  const member = await contributor();
  const policy = { ...salaries.policy, contributors: [member.id], analysts: [analyst.id] };
  const dataset = await makeDataset(service, { policy });
  const upload = await uploadFor(await epochKey(service, dataset, member.secret));
  const stranger = await contributor();
  const elsewhere = await makeNamespace(service, ['datasets:admin', 'datasets:contribute', 'datasets:query']);
  for (const token of [stranger.secret, elsewhere.token.secret]) {
    for (const name of [dataset, 'never-made']) {
      const answers = [
        await send(service, name, upload, { token }),
        await service.call('GET', `/v1/datasets/${name}`, undefined, { token }),
        await service.call('GET', `/v1/datasets/${name}/epochs`, undefined, { token }),
        await service.call('GET', `/v1/datasets/${name}/epoch-key`, undefined, { token }),
      ];
      for (const { status, body } of answers) {
        const { requestId: _, ...problem } = body;
        expect([status, problem]).toEqual([
          404,
          {
            ...{ type: '/docs/problems#dataset/not-found', title: 'No such dataset', status: 404 },
            ...{ detail: 'There is no such dataset.', code: 'dataset/not-found' },
          },
        ]);
      }
    }
    const { body } = await service.call('GET', '/v1/datasets?limit=1000', undefined, { token });
    expect(JSON.stringify(body)).not.toContain(dataset);
  }
  const denied = await send(service, dataset, upload, { token: analyst.secret });
  expect([denied.status, denied.body['code']]).toEqual([403, 'access/denied']);
  const key = await service.call('GET', `/v1/datasets/${dataset}/epoch-key`, undefined, {
    token: analyst.secret,
  });
  expect([key.status, key.body['code']]).toEqual([403, 'access/denied']);
  expect((await send(service, dataset, upload, { token: member.secret })).status).toBe(201);
});

/** Sends a body in chunks until the service answers. @returns status, code, and bytes that were taken */
function pour(
  path: string,
  token: string,
  most: number,
): Promise<[status: number, code: unknown, sent: number]> {
  return new Promise((resolve, reject) => {
    let sent = 0;
    const chunk = Buffer.alloc(64 * 1024, 1);
    const pouring = request(new URL(path, service.url), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
    });
    pouring.on('response', (answer) => {
      const status = answer.statusCode ?? 0;
      void readText(answer).then((text) => {
        pouring.destroy();
        resolve([status, (JSON.parse(text) as { code: unknown }).code, sent]);
      }, reject);
    });
    pouring.on('error', reject);
    const more = (): void => {
      if (sent >= most || pouring.destroyed) return void pouring.end();
      sent += chunk.length;
      pouring.write(chunk, (error) => {
        if (!error) setImmediate(more);
      });
    };
    more();
  });
}

/**
 * Guarantees that a body without an end is refused when it is longer than any contribution, that what no contributor
 * sends is not read at all, and that thousands of refused uploads leave the service's memory where it was.
 */
test('bombs cost no memory', async () => {
  const dataset = await makeDataset(service);
  const { secret: token } = await contributor();
  const path = `/v1/datasets/${dataset}/epochs/1/contributions/1`;
  const key = await epochKey(service, dataset, token);
  const residues = Buffer.alloc(ciphertextBytes(set), 0xff);
  const upload = uploadOf(key, 1, [residues]);
  const resident = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${service.pid}/status`, 'utf8'))?.[1]);
  const turn = async (count: number) => {
    for (let at = 0; at < count; at += 20) {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => send(service, dataset, upload, { token })),
      );
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([422]));
    }
  };
  // Buffers are collected when there are many: until then memory rises to what it then stays at.
  await turn(800);
  const before = resident();
  await turn(500);
  const [status, code, sent] = await pour(path, token, 256 * 1024 * 1024);
  expect([status, code]).toEqual([413, 'request/too-large']);
  expect(sent).toBeLessThan(64 * 1024 * 1024);
  // 66 MB were sent, and some more poured: nothing of it may stay.
  expect(resident() - before).toBeLessThan(32 * 1024);
  expect(await kept(dataset)).toEqual([0, 0, 0]);
}, 120_000);
