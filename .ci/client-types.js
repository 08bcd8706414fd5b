// Writes out the types of the client that dist/ was built with: what they take from the schemas of the service stands
// there as plain types. Programs that use the client then need no zod to be compiled, and a tenth of the time.
// An editor shows them as they are, too. Runs before the package is packed.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Of an alias that is there for this alone. */
const unusedCode = 6196;
const { StringLike, NumberLike, BooleanLike, Null, Undefined, Unknown } = ts.TypeFlags;
const dataFlags = StringLike | NumberLike | BooleanLike | Null | Undefined | Unknown;
const derived = /\b(?:Given|Answered)<typeof [\w.]+>/g;

/** What stays imported: types that are plain as they stand. */
const plainModule = /^\.\/(?:type-parts|types-[a-z]+)\.(?:js|ts)$/;

let checker;
for (const name of ['types', 'types-datasets', 'types-rotation']) {
  const source = join(root, `src/client/${name}.ts`);
  const built = join(root, `dist/client/${name}.d.ts`);
  const text = readFileSync(built, 'utf8');
  const names = [...new Set(text.match(derived))];
  const resolved = resolveAll(source, names);
  checker = resolved.checker;
  const plain = new Map(names.map((name, index) => [name, write(resolved.types[index])]));
  writeFileSync(built, withoutUnused(text.replaceAll(derived, (name) => plain.get(name))));
}

/** Each of `expressions` as the compiler sees it at the end of the source. */
function resolveAll(source, expressions) {
  const config = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config;
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const host = ts.createCompilerHost(options);
  const aliases = expressions.map((expression, index) => `export type Plain${index} = ${expression};`);
  const readFile = host.readFile;
  host.readFile = (file) => (file === source ? [readFile(file), ...aliases].join('\n') : readFile(file));
  host.getSourceFile = (file, version) => ts.createSourceFile(file, host.readFile(file) ?? '', version, true);
  const program = ts.createProgram([source], options, host);
  const file = program.getSourceFile(source);
  const errors = program.getSemanticDiagnostics(file).filter(({ code }) => code !== unusedCode);
  if (errors.length > 0) throw new Error(ts.formatDiagnostics(errors, { ...host, getNewLine: () => '\n' }));
  const found = program.getTypeChecker();
  const statements = file.statements.filter(ts.isTypeAliasDeclaration).slice(-expressions.length);
  return { checker: found, types: statements.map((statement) => found.getTypeAtLocation(statement)) };
}

/** A type of data, written out. @throws for any other */
function write(type) {
  if (type.flags & ts.TypeFlags.Boolean) return 'boolean';
  if (type.isUnion()) return writeUnion(type.types.map((each) => write(each)));
  if (type.isIntersection()) return type.types.map((each) => `(${write(each)})`).join(' & ');
  if (type.flags & ts.TypeFlags.Object) return writeObject(type);
  if (type.flags & dataFlags) return checker.typeToString(type, undefined, ts.TypeFormatFlags.NoTruncation);
  throw new Error(`a type of the client that is no data: ${checker.typeToString(type)}`);
}

function writeUnion(parts) {
  const last = parts.filter((part) => part === 'undefined');
  const others = parts.filter((part) => !['undefined', 'true', 'false'].includes(part));
  const truths = parts.filter((part) => ['true', 'false'].includes(part));
  return [...others, ...(truths.length === 2 ? ['boolean'] : truths), ...last].join(' | ');
}

function writeObject(type) {
  const name = type.symbol?.name;
  if (name === 'Uint8Array') return checker.typeToString(type);
  if (checker.isArrayType(type)) {
    const [item] = checker.getTypeArguments(type);
    const each = item.isUnion() || item.isIntersection() ? `(${write(item)})` : write(item);
    return `${name === 'ReadonlyArray' ? 'readonly ' : ''}${each}[]`;
  }
  if (type.getCallSignatures().length > 0) throw new Error(`a function in a type of the client: ${name}`);
  const indexes = checker.getIndexInfosOfType(type).map((info) => {
    return `${info.isReadonly ? 'readonly ' : ''}[name: ${write(info.keyType)}]: ${write(info.type)};`;
  });
  const members = type.getProperties().map((member) => {
    const optional = member.flags & ts.SymbolFlags.Optional ? '?' : '';
    return `${member.name}${optional}: ${write(checker.getTypeOfSymbol(member))};`;
  });
  return `{ ${[...indexes, ...members].join(' ')} }`;
}

/** The declarations without imports, and without types of their own that nothing names any more. */
function withoutUnused(declarations) {
  const file = ts.createSourceFile('types.d.ts', declarations, ts.ScriptTarget.Latest, true);
  const drop = file.statements.find((statement) => {
    if (ts.isImportDeclaration(statement)) return !plainModule.test(statement.moduleSpecifier.text);
    if (!ts.isTypeAliasDeclaration(statement) || statement.modifiers !== undefined) return false;
    const others = declarations.slice(0, statement.pos) + declarations.slice(statement.end);
    return !new RegExp(`\\b${statement.name.text}\\b`).test(others);
  });
  if (drop === undefined) return declarations;
  return withoutUnused(declarations.slice(0, drop.getFullStart()) + declarations.slice(drop.end));
}
