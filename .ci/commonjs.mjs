// The CommonJS build of the package, converted from the output of `nest build`: dist/**/*.js becomes dist/cjs/**/*.js.
//
// Node itself does not load it: by the condition `module-sync` in package.json, `import` and `require` both get the ES
// modules, and a process has one copy of each class. It is for module systems that cannot require an ES module: Jest's, and
// TypeScript with "module": "node16".
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reachableDeclarations } from './declarations.mjs';
import { toCommonJs } from './to-commonjs.mjs';

const from = fileURLToPath(new URL('../dist', import.meta.url));
const to = join(from, 'cjs');

rmSync(to, { recursive: true, force: true });
const declarations = reachableDeclarations(from);
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
