import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv, type ValidateFunction } from 'ajv';
import { parseAllDocuments } from 'yaml';
import { projectRoot } from '../support/data.ts';

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
  // oxlint-disable-next-line typescript/no-explicit-any -- the schema says what it is
  readonly spec: any;
}

/** The objects of a file, as Kubernetes reads them: YAML 1.1, with merge keys. @throws where it is no YAML */
export function readManifests(text: string): Manifest[] {
  return parseAllDocuments(text, { version: '1.1', merge: true, uniqueKeys: true }).map((document) => {
    const [fault] = [...document.errors, ...document.warnings];
    if (fault) throw fault;
    return document.toJS() as Manifest;
  });
}

interface Published {
  readonly kinds: Readonly<Record<string, string>>;
  readonly definitions: Readonly<Record<string, object>>;
}

const published = JSON.parse(
  readFileSync(join(projectRoot, 'test/deploy/kubernetes-1.34.json'), 'utf8'),
) as Published;
const ajv = new Ajv({ allErrors: true, allowUnionTypes: true });
ajv.addSchema({ $id: 'kubernetes', definitions: published.definitions });

/** What Kubernetes' schema does not take in an object: nothing where it takes all. */
export function faultsOf(manifest: Manifest): string[] {
  const name = `${manifest.apiVersion}/${manifest.kind}`;
  const definition = published.kinds[name];
  if (definition === undefined) return [`${name} is no kind of the schema`];
  const validate = ajv.getSchema(`kubernetes#/definitions/${definition}`) as ValidateFunction;
  if (validate(manifest)) return [];
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
  );
}
