import { readdirSync, readFileSync } from 'node:fs';

/** Which layers of this project a layer may import. Beside them, each may import itself. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  net: ['protocol'],
  rpc: ['protocol', 'pipeline'],
  pipeline: ['rpc', 'protocol'],
  cluster: ['rpc', 'pipeline', 'protocol'],
  nest: ['protocol', 'net', 'rpc', 'pipeline', 'cluster'],
  plugins: ['nest', 'pipeline', 'rpc', 'protocol'],
  redis: ['plugins', 'rpc', 'pipeline', 'protocol'],
  index: ['protocol', 'net', 'rpc', 'pipeline', 'cluster', 'nest', 'plugins', 'redis'],
};
/** Packages that only these layers may import. */
const OWNERS: readonly [name: RegExp, ...layers: string[]][] = [
  [/^(node:)?(net|tls|dns)$/, 'net'],
  [/^(@nestjs\/|rxjs(\/|$)|reflect-metadata$)/, 'nest'],
  [/^(ioredis|rate-limiter-flexible)(\/|$)/, 'redis'],
  [/^(node:)?fs$/, 'net'],
  [/^(node:)?(fs|https?2?|dgram|child_process|worker_threads|timers)(\/|$)/],
];

const IMPORT =
  /^\s*(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*['"`]([^'"`]*)|\brequire\(/gm;
const TIMERS = /\b(setTimeout|setInterval|setImmediate|nextTick|queueMicrotask)\b/;

/** What a file (its path within lib) imports or calls though its layer may not. */
function violations(file: string, source: string): string[] {
  const code = source.replaceAll(/\/\*[^]*?\*\/|\/\/.*$/gm, '');
  const layer = file.includes('/') ? (file.split('/')[0] as string) : 'index';
  const found = [...code.matchAll(IMPORT)].flatMap(([, type, from, dynamic]) => {
    const path = from ?? dynamic ?? 'require';
    if (path.startsWith('.')) {
      const target = new URL(path, `file:///${file}`).pathname.split('/').slice(1);
      const to = target.length > 1 ? (target[0] as string) : 'index';
      return to === layer || ARROWS[layer]?.includes(to) ? [] : [`${file} -> ${to}`];
    }
    const owner = OWNERS.find(([name]) => name.test(path));
    const nodeType = type !== undefined && layer === 'nest' && /^node:(net|tls)$/.test(path);
    const allowed = path !== 'require' && (!owner || owner.includes(layer) || nodeType || layer === 'index');
    return allowed ? [] : [`${file} -> ${path}`];
  });
  if (layer === 'protocol' && TIMERS.test(code)) found.push(`${file}: a timer`);
  return ARROWS[layer] ? found : [`${file}: an unknown layer`];
}

const lib = new URL('../lib/', import.meta.url);
const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

it.each(files)('%s imports only what its layer may', (file) => {
  expect(violations(file, readFileSync(new URL(file, lib), 'utf8'))).toEqual([]);
});

it('is about all layers', () => {
  const layers = new Set(files.map((file) => (file.includes('/') ? file.split('/')[0] : 'index')));
  for (const layer of ['protocol', 'net', 'rpc', 'cluster', 'nest', 'plugins', 'redis', 'index'])
    expect(layers).toContain(layer);
});

it.each([
  ['protocol/a.ts', `import { x } from '../rpc/b.js';`],
  ['protocol/a.ts', `import type { x } from '../rpc/b.js';`],
  ['protocol/a.ts', `export * from '../net/b.js';`],
  ['protocol/a.ts', `import {\n  type x,\n  y,\n} from '../nest/b.js';`],
  ['protocol/a.ts', `import '../index.js';`],
  ['protocol/deep/a.ts', `import { x } from '../../rpc/b.js';`],
  ['protocol/a.ts', `import net from 'node:net';`],
  ['protocol/a.ts', `import type { Socket } from 'net';`],
  ['protocol/a.ts', `const x = await import('node:tls');`],
  ['protocol/a.ts', `const x = require('net');`],
  ['protocol/a.ts', `import { of } from 'rxjs';`],
  ['protocol/a.ts', `import { map } from 'rxjs/operators';`],
  ['protocol/a.ts', `import { Injectable } from '@nestjs/common';`],
  ['protocol/a.ts', `import { setTimeout } from 'node:timers/promises';`],
  ['protocol/a.ts', `setImmediate(x);`],
  ['net/a.ts', `import { x } from '../rpc/b.js';`],
  ['rpc/a.ts', `import { x } from '../net/b.js';`],
  ['rpc/a.ts', `import { x } from '../cluster/b.js';`],
  ['rpc/a.ts', `import type { AddressInfo } from 'node:net';`],
  ['cluster/a.ts', `import { x } from '../net/b.js';`],
  ['cluster/a.ts', `import { x } from '../nest/b.js';`],
  ['nest/a.ts', `import net from 'node:net';`],
  ['nest/a.ts', `import { lstatSync } from 'node:fs';`],
  ['net/a.ts', `import { lstat } from 'node:fs/promises';`],
  ['nest/a.ts', `import { type Socket } from 'node:net';`],
  ['nest/a.ts', `import { x } from '../index.js';`],
  ['plugins/a.ts', `import { x } from '../net/b.js';`],
  ['plugins/a.ts', `import { of } from 'rxjs';`],
  ['plugins/a.ts', `import { Redis } from 'ioredis';`],
  ['plugins/a.ts', `import { x } from '../redis/b.js';`],
  ['redis/a.ts', `import { x } from '../nest/b.js';`],
  ['other/a.ts', `export const x = 1;`],
])('would fail on %s: %s', (file, source) => expect(violations(file, source)).not.toEqual([]));

it.each([
  [
    'protocol/a.ts',
    `import { isUtf8 } from 'node:buffer';\nimport { Packr } from 'msgpackr';\nimport { x } from './b.js';`,
  ],
  ['protocol/deep/a.ts', `import { x } from '../b.js';`],
  [
    'protocol/a.ts',
    `// import net from 'node:net'; setTimeout\n/* import '../rpc/b.js' */\nexport const x = 1;`,
  ],
  [
    'net/a.ts',
    `import net from 'node:net';\nimport tls from 'node:tls';\nimport { x } from '../protocol/b.js';`,
  ],
  ['rpc/a.ts', `import { x } from '../protocol/b.js';\nsetTimeout(x);`],
  [
    'nest/a.ts',
    `import type { AddressInfo } from 'node:net';\nimport { of } from 'rxjs';\nimport { x } from '../cluster/b.js';`,
  ],
  ['plugins/a.ts', `import { x } from '../nest/b.js';`],
  [
    'redis/a.ts',
    `import type { x } from '../plugins/b.js';\nconst x = await import('rate-limiter-flexible');`,
  ],
  ['index.ts', `export { x } from './nest/b.js';`],
  ['redis.ts', `export { x } from './redis/b.js';`],
])('would pass %s: %s', (file, source) => expect(violations(file, source)).toEqual([]));
