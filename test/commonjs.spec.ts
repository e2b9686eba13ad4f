import { createContext, runInContext } from 'node:vm';
import { pathToFileURL } from 'node:url';
import { toCommonJs } from '../.ci/to-commonjs.mjs';

/** What a module exports, as CommonJS; `required` is told what it requires. */
function run(code: string, required: string[] = []): Record<string, unknown> {
  const exports: Record<string, unknown> = {};
  const require = (name: string): unknown => {
    required.push(name);
    return name === 'node:url' ? { pathToFileURL } : { found: name };
  };
  const context = createContext({ exports, require, __filename: '/a/b.js' });
  runInContext(toCommonJs(code, '/dist/b.js'), context);
  return exports;
}

it('gives import.meta.url, in code and not in texts', () => {
  const { url, text, template, regExp } = run(`
    // import.meta.url
    export const url = new (class { at = import.meta.url })().at;
    export const text = "import.meta.url";
    export const template = \`import.meta.url \${import.meta.url}\`;
    export const regExp = /import.meta.url/.source;
  `);

  expect([url, text, template, regExp]).toEqual([
    'file:///a/b.js',
    'import.meta.url',
    'import.meta.url file:///a/b.js',
    'import.meta.url',
  ]);
});

it('requires the twin of an .mjs that it imports, and leaves texts', async () => {
  const required: string[] = [];
  const { text, later, other } = run(
    `
    import { found } from './a.mjs';
    export { found as again } from '../c.mjs';
    export const first = found;
    export const later = import('./d.mjs');
    export const other = import('e/f.mjs');
    export const text = 'require("./a.mjs")';
    `,
    required,
  );

  expect(text).toBe('require("./a.mjs")');
  await Promise.all([later, other]);
  expect(required.toSorted()).toEqual(['../c.cjs', './a.cjs', './d.cjs', 'e/f.mjs']);
});

it('leaves out the comment that names a source map, and no other', () => {
  const code = 'export const a = `\n//# sourceMappingURL=x\n`;\n//# sourceMappingURL=b.js.map';

  expect(run(code)['a']).toBe('\n//# sourceMappingURL=x\n');
  expect(toCommonJs(code, 'b.js')).not.toContain('b.js.map');
});

it('fails on what import.meta has beside its url', () => {
  expect(() => toCommonJs('export const a = import.meta.dirname;', 'b.js')).toThrow('import.meta.dirname');
});
