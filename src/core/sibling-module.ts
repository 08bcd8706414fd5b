/** The same file for the code as run from TypeScript and from its build: worker entries are named by URL. */
export function siblingModule(base: string, name: string): URL {
  return new URL(`./${name}${base.endsWith('.ts') ? '.ts' : '.js'}`, base);
}
