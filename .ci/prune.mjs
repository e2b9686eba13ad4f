// Before packing: removes the declarations that no entry of the package needs. The CommonJS build has none of them.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reachableDeclarations } from './declarations.mjs';

const dist = fileURLToPath(new URL('../dist', import.meta.url));
const kept = reachableDeclarations(dist);
for (const file of readdirSync(dist, { recursive: true }))
  if (/\.d\.m?ts$/.test(file) && !file.startsWith('cjs') && !kept.has(file)) rmSync(join(dist, file));
