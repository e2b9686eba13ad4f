// The CommonJS build of the package, converted from the output of `nest build`: dist/**/*.js becomes dist/cjs/**/*.js.
//
// Node itself does not load it: by the condition `module-sync` in package.json, `import` and `require` both get the ES
// modules, and a process has one copy of each class. It is for module systems that cannot require an ES module: Jest's, and
// TypeScript with "module": "node16".
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toCommonJs } from './to-commonjs.mjs';

const from = fileURLToPath(new URL('../dist', import.meta.url));
const to = join(from, 'cjs');

rmSync(to, { recursive: true, force: true });
const declarations = reachable(readdirSync(from).filter((file) => file.endsWith('.d.ts')));
for (const file of readdirSync(from, { recursive: true })) {
  const source = join(from, file);
  const target = join(to, file);
  mkdirSync(dirname(target), { recursive: true });
  if (file.endsWith('.js')) writeFileSync(target, written(source));
  else if (file.endsWith('.mjs') || declarations.has(file)) copyFileSync(source, target);
  // a worker thread loads the .mjs, and the package requires the .cjs beside it
  if (file.endsWith('.mjs')) writeFileSync(target.replace(/\.mjs$/, '.cjs'), written(source));
}
writeFileSync(join(to, 'package.json'), '{ "type": "commonjs" }\n');

function written(file) {
  return toCommonJs(readFileSync(file, 'utf8'), file);
}

/** The declarations that the entry files need: nothing else of the package can be imported, so nobody would read the rest. */
function reachable(entries) {
  const found = new Set(entries);
  for (const file of found)
    for (const [, specifier] of readFileSync(join(from, file), 'utf8').matchAll(
      /['"](\.{1,2}\/[^'"]+)['"]/g,
    )) {
      const imported = join(dirname(file), specifier).replace(/\.(m?)js$/, '.d.$1ts');
      if (existsSync(join(from, imported))) found.add(imported); // an example in a comment imports a file of its own
    }
  return found;
}
