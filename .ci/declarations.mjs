import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * The declarations that the entries of the package need. Nothing else of the package can be imported, so nobody would read the
 * rest.
 *
 * @param {string} folder of the build
 * @returns {Set<string>} paths within the folder
 */
export function reachableDeclarations(folder) {
  const found = new Set(readdirSync(folder).filter((file) => file.endsWith('.d.ts')));
  for (const file of found) {
    const code = readFileSync(join(folder, file), 'utf8');
    for (const [, specifier] of code.matchAll(/['"](\.{1,2}\/[^'"]+)['"]/g)) {
      const imported = join(dirname(file), specifier).replace(/\.(m?)js$/, '.d.$1ts');
      if (existsSync(join(folder, imported))) found.add(imported); // an example in a comment imports a file of its own
    }
  }
  return found;
}
