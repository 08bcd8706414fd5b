// Import directions. `down` holds the arrows; what an area reaches over several of them it may import too.
const down = {
  core: [],
  crypto: ['core'],
  hsm: ['crypto'],
  store: ['crypto'],
  audit: ['store'],
  access: ['audit'],
  keys: ['access', 'hsm'],
  macs: ['keys'],
  decryption: ['keys'],
  importing: ['keys'],
  // A batch has items of both.
  envelope: ['keys', 'macs', 'signing'],
  coverage: ['keys', 'events'],
  fields: ['envelope'],
  rotation: ['fields', 'jobs'],
  signing: ['keys'],
  exchange: ['keys'],
  aggregate: ['keys', 'jobs'],
  jobs: ['access'],
  events: ['keys', 'jobs'],
  lifecycle: ['keys', 'jobs', 'events'],
  admission: ['core'],
  http: ['access', 'admission'],
  client: ['crypto'],
  processes: ['core'],
};
const capabilities = [
  'keys',
  'macs',
  'decryption',
  'importing',
  'events',
  'lifecycle',
  'envelope',
  'coverage',
  'fields',
  'rotation',
  'signing',
  'exchange',
  'aggregate',
  'jobs',
];

function reach(area) {
  const reached = new Set([area]);
  for (const from of reached) for (const to of down[from]) reached.add(to);
  return [...reached];
}

// A capability's routes may need more than one file: routes.ts, routes-schemas.ts …
const routes = '/routes[a-z-]*\\.ts$';
// What the client's types are made of.
const schemas = '^src/([a-z]+/routes-schemas[a-z-]*|http/validation)\\.ts$';
const adapters = '^src/(hsm/pkcs11(/|\\.ts$)|store/(sqlite|postgres)[a-z-]*\\.ts$)';

const directions = Object.keys(down).map((area) => ({
  name: `${area}-imports-down`,
  comment: `${area} may import ${reach(area).join(', ')}; its routes.ts http as well`,
  severity: 'error',
  from: { path: `^src/${area}/`, pathNot: routes },
  to: {
    path: '^src/',
    pathNot: [`^src/(${reach(area).join('|')})/`, ...(area === 'client' ? [schemas] : [])],
  },
}));

const routeDirections = Object.keys(down).map((area) => ({
  name: `${area}-routes-import-down`,
  severity: 'error',
  from: { path: `^src/${area}${routes}` },
  to: { path: '^src/', pathNot: `^src/(${[...reach(area), ...reach('http')].join('|')})/` },
}));

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...directions,
    ...routeDirections,
    {
      name: 'client-takes-types-alone',
      comment: 'nothing of the service gets into programs that use the client but the types of its schemas',
      severity: 'error',
      from: { path: '^src/client/' },
      to: { path: schemas, dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'only-routes-speak-http',
      comment: 'operations know nothing of HTTP: routes.ts decodes, calls one operation and encodes',
      severity: 'error',
      from: { path: '^src/', pathNot: `^src/(http|compat|console)/|^src/(app|main)\\.ts$|${routes}` },
      to: { path: '(^|/)node_modules/(hono|@hono)/' },
    },
    {
      name: 'adapters-are-wired-by-main',
      comment: 'everyone else sees the ports hsm/hsm.ts and store/store.ts',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(main\\.ts$|cli/|hsm/pkcs11(/|\\.ts$)|store/)' },
      to: { path: adapters },
    },
    {
      name: 'operations-not-insides',
      comment: 'compat, cli and console call the operations: keys/keys.ts, envelope/envelope.ts, …',
      severity: 'error',
      from: { path: '^src/(compat|cli|console)/' },
      to: {
        path: `^src/(${capabilities.join('|')})/`,
        pathNot: capabilities.map((name) => `^src/${name}/${name}\\.ts$`),
      },
    },
    {
      name: 'the-top-is-not-imported',
      comment: 'the files beside main.ts put the parts together; the command line starts them',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: '^src/cli/' },
      to: { path: '^src/[^/]+\\.ts$' },
    },
    {
      name: 'main-is-not-imported',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^src/main\\.ts$' },
    },
    {
      name: 'settings-import-core-only',
      severity: 'error',
      from: { path: '^src/(config|settings)\\.ts$' },
      to: { path: '^src/', pathNot: '^src/(core/|settings\\.ts$)' },
    },
    {
      name: 'core-and-crypto-are-pure',
      comment:
        'but for how a file is made to last and how a thread gives way, which are everyone’s and one thing each',
      severity: 'error',
      from: { path: '^src/(core|crypto)/', pathNot: '^src/core/(durable-file|thread-priority)\\.ts$' },
      to: {
        dependencyTypes: ['core'],
        path: '^(node:)?(fs|fs/promises|net|tls|dgram|dns|http|https|http2|child_process|cluster|worker_threads|os)$',
      },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: { path: '^(src|test|bench)/' },
      to: { circular: true },
    },
    {
      name: 'production-stands-alone',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|bench|softhsm|\\.ci)/' },
    },
    {
      name: 'no-dev-dependency-in-production',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|data)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.cjs', '.mjs', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
