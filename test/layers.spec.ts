import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import {
  circles,
  importedFile,
  importGraph,
  importsOf,
  oversized,
  withoutComments,
} from './helpers/import-graph.js';

const PROTOCOL = ['protocol/bytes', 'protocol/values', 'protocol'];
const RPC = [...PROTOCOL, 'diagnostics', 'rpc/context', 'rpc/time', 'rpc', 'rpc/channel', 'rpc/connection'];
const BELOW_NEST = [...RPC, 'pipeline', 'net'];
const NEST = [...BELOW_NEST, 'nest/lifecycle', 'nest/validation', 'nest/errors'];
const HANDLERS = [...NEST, 'nest/streams', 'nest/contract', 'nest/checks', 'nest/handlers'];
const CLUSTER = [...RPC, 'rpc/client', 'cluster/balancing', 'cluster/failures'];
const CLIENT = [...HANDLERS, 'rpc/client', 'cluster/balancing', 'cluster/failures', 'cluster'];

/** Folders of lib/ with the folders that their own files may import, lowest first. Each may import itself. */
const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  'protocol/bytes': [],
  'protocol/values': [],
  protocol: ['protocol/bytes', 'protocol/values'],
  'protocol/crypto': PROTOCOL,
  diagnostics: PROTOCOL,
  net: PROTOCOL,
  'rpc/context': PROTOCOL,
  'rpc/time': [...PROTOCOL, 'rpc/context'],
  rpc: [...PROTOCOL, 'rpc/context', 'rpc/time'],
  'rpc/channel': [...PROTOCOL, 'rpc/context', 'rpc/time', 'rpc'],
  'rpc/connection': [...PROTOCOL, 'diagnostics', 'rpc/context', 'rpc/time', 'rpc', 'rpc/channel'],
  'rpc/client': RPC,
  'rpc/server': RPC,
  'rpc/crypto': [...RPC, 'protocol/crypto'],
  pipeline: [...RPC, 'rpc/client', 'rpc/server'],
  'cluster/balancing': RPC,
  'cluster/failures': [...RPC, 'cluster/balancing'],
  cluster: CLUSTER,
  discovery: [...CLUSTER, 'cluster'],
  etcd: [...CLUSTER, 'cluster', 'discovery'],
  'nest/lifecycle': BELOW_NEST,
  'nest/validation': BELOW_NEST,
  'nest/errors': [...BELOW_NEST, 'nest/lifecycle', 'nest/validation'],
  'nest/streams': NEST,
  'nest/contract': NEST,
  'nest/checks': [...NEST, 'nest/streams', 'nest/contract'],
  'nest/handlers': [...NEST, 'nest/streams', 'nest/contract', 'nest/checks', 'rpc/server'],
  'nest/workers': HANDLERS,
  'nest/copies': HANDLERS,
  'nest/gateway': HANDLERS,
  'nest/health': HANDLERS,
  'nest/server': [...HANDLERS, 'rpc/server', 'nest/workers', 'nest/copies', 'nest/health'],
  'nest/client/calls': CLIENT,
  'nest/client/proxies': [...CLIENT, 'nest/client/calls'],
  'nest/client': [...CLIENT, 'nest/client/calls', 'nest/client/proxies'],
  nest: [...HANDLERS, 'nest/workers', 'nest/gateway', 'nest/server', 'nest/client'],
  testing: [...HANDLERS, 'nest', 'nest/server', 'nest/client', 'nest/client/calls', 'nest/client/proxies'],
  health: [...CLIENT, 'nest/health', 'nest/server', 'nest/client'],
  plugins: [...NEST.filter((folder) => folder !== 'net'), 'protocol/crypto', 'rpc/server', 'rpc/crypto'],
  redis: [...RPC, 'pipeline', 'plugins'],
  telemetry: [...PROTOCOL, 'diagnostics'],
  'telemetry/opentelemetry': [...PROTOCOL, 'diagnostics', 'telemetry'],
  'telemetry/prometheus': [...PROTOCOL, 'diagnostics', 'telemetry'],
};
/** The entry files, which nothing imports. */
const ENTRIES = '.';

/** Packages that only these folders, and those inside of them, may import. */
const OWNERS: readonly [name: RegExp, ...folders: string[]][] = [
  [/^(node:)?(net|tls)$/, 'net'],
  [/^(node:)?dns(\/|$)/, 'net', 'discovery'],
  [/^(node:)?http$/, 'net'],
  [/^(@nestjs\/|rxjs(\/|$)|reflect-metadata$)/, 'nest', 'testing'],
  [/^piscina(\/|$)/, 'nest/workers'],
  [/^@opentelemetry\//, 'telemetry/opentelemetry'],
  [/^(ioredis|rate-limiter-flexible)(\/|$)/, 'redis'],
  [/^(node:)?fs$/, 'net'],
  [/^(node:)?(fs|https?2?|dgram|child_process|worker_threads|timers)(\/|$)/],
];
const TIMERS = /\b(setTimeout|setInterval|setImmediate|nextTick|queueMicrotask)\b/;

const LIMITS = { fileLines: 400, classLines: 300, folderFiles: 30 };

/** What a file (its path within lib) imports or calls though its folder may not. */
function violations(file: string, source: string): string[] {
  const folder = posix.dirname(file);
  const permitted = folder === ENTRIES ? Object.keys(FOLDERS) : FOLDERS[folder];
  if (!permitted) return [`${file}: no row for ${folder}`];
  const found = importsOf(source).flatMap(({ from, isType }) => {
    if (from.startsWith('.')) {
      const to = posix.dirname(importedFile(file, from));
      return to === folder || permitted.includes(to) ? [] : [`${file} -> ${to}`];
    }
    const owners = OWNERS.find(([name]) => name.test(from))?.slice(1) as string[] | undefined;
    const isOwner = !owners || owners.some((owner) => `${folder}/`.startsWith(`${owner}/`));
    const nodeType = isType && /^(nest\/|testing$)/.test(folder) && /^node:(net|tls)$/.test(from);
    return from !== 'require' && (isOwner || nodeType) ? [] : [`${file} -> ${from}`];
  });
  if (`${folder}/`.startsWith('protocol/') && TIMERS.test(withoutComments(source)))
    found.push(`${file}: a timer`);
  return found;
}

const lib = new URL('../lib/', import.meta.url);
const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) =>
  /\.m?ts$|\.mjs$/.test(file),
);
const sources = new Map(files.map((file) => [file, readFileSync(new URL(file, lib), 'utf8')]));

it.each([...sources])('%s imports only what its folder may', (file, source) => {
  expect(violations(file, source)).toEqual([]);
});

it('has a row for each folder, and a folder for each row', () => {
  const folders = new Set(files.map((file) => posix.dirname(file)));
  expect([...folders].toSorted()).toEqual([ENTRIES, ...Object.keys(FOLDERS)].toSorted());
});

/** What a table permits though it has no row for it, and the circles in it. */
function flaws(table: Readonly<Record<string, readonly string[]>>): string[] {
  const permitted = new Set(Object.values(table).flat());
  return [...permitted].filter((folder) => !table[folder]).concat(circles(new Map(Object.entries(table))));
}

it('permits only folders that have a row, and no circle of folders', () => {
  expect(flaws(FOLDERS)).toEqual([]);
});

it.each([
  [{ a: ['b'] }, ['b']],
  [{ a: ['b'], b: ['c'], c: ['a'] }, ['a -> b -> c -> a']],
])('would refuse the table %j', (table, expected) => expect(flaws(table)).toEqual(expected));

it('has no circle of files, type imports included', () => {
  expect(circles(importGraph(sources))).toEqual([]);
});

it('keeps files, classes and folders small', () => {
  expect(oversized(sources, LIMITS)).toEqual([]);
});

it.each([
  ['protocol/a.ts', `import { x } from '../rpc/b.js';`],
  ['protocol/a.ts', `import type { x } from '../rpc/b.js';`],
  ['protocol/a.ts', `export * from '../net/b.js';`],
  ['protocol/a.ts', `import {\n  type x,\n  y,\n} from '../nest/b.js';`],
  ['protocol/a.ts', `import '../index.js';`],
  ['protocol/a.ts', `import { x } from './crypto/b.js';`],
  ['protocol/a.ts', `import net from 'node:net';`],
  ['protocol/a.ts', `import type { Socket } from 'net';`],
  ['protocol/a.ts', `const x = await import('node:tls');`],
  ['protocol/a.ts', `const x = require('net');`],
  ['protocol/a.ts', `import { of } from 'rxjs';`],
  ['protocol/a.ts', `import { map } from 'rxjs/operators';`],
  ['protocol/a.ts', `import { Injectable } from '@nestjs/common';`],
  ['protocol/a.ts', `import { setTimeout } from 'node:timers/promises';`],
  ['protocol/a.ts', `setImmediate(x);`],
  ['protocol/bytes/a.ts', `import { x } from '../b.js';`],
  ['protocol/bytes/a.ts', `import { x } from '../values/b.js';`],
  ['protocol/values/a.ts', `import type { x } from '../b.js';`],
  ['protocol/values/a.ts', `import { x } from '../../rpc/b.js';`],
  ['protocol/crypto/a.ts', `setTimeout(x);`],
  ['net/a.ts', `import { x } from '../rpc/b.js';`],
  ['net/a.ts', `import { lstat } from 'node:fs/promises';`],
  ['rpc/a.ts', `import { x } from '../net/b.js';`],
  ['rpc/a.ts', `import { x } from '../cluster/b.js';`],
  ['rpc/a.ts', `import { x } from './channel/b.js';`],
  ['rpc/a.ts', `import type { AddressInfo } from 'node:net';`],
  ['rpc/context/a.ts', `import { x } from '../time/b.js';`],
  ['rpc/channel/a.ts', `import type { x } from '../connection/b.js';`],
  ['rpc/channel/a.ts', `import type { x } from '../../pipeline/b.js';`],
  ['rpc/connection/a.ts', `import type { x } from '../client/b.js';`],
  ['rpc/connection/a.ts', `import { x } from '../crypto/b.js';`],
  ['rpc/client/a.ts', `import { x } from '../server/b.js';`],
  ['rpc/client/a.ts', `import { x } from '../../pipeline/b.js';`],
  ['rpc/server/a.ts', `import type { x } from '../client/b.js';`],
  ['rpc/server/a.ts', `import { x } from '../../pipeline/b.js';`],
  ['rpc/other/a.ts', `export const x = 1;`],
  ['pipeline/a.ts', `import { x } from '../nest/errors/b.js';`],
  ['cluster/a.ts', `import { x } from '../net/b.js';`],
  ['cluster/a.ts', `import { x } from '../rpc/server/b.js';`],
  ['cluster/a.ts', `import { x } from '../pipeline/b.js';`],
  ['cluster/a.ts', `import { x } from '../nest/client/b.js';`],
  ['nest/a.ts', `import net from 'node:net';`],
  ['nest/a.ts', `import { lstatSync } from 'node:fs';`],
  ['nest/a.ts', `import { type Socket } from 'node:net';`],
  ['nest/a.ts', `import { x } from '../index.js';`],
  ['nest/a.ts', `import { x } from '../plugins/b.js';`],
  ['nest/lifecycle/a.ts', `import { x } from '../../plugins/b.js';`],
  ['nest/errors/a.ts', `import { x } from '../handlers/b.js';`],
  ['nest/handlers/a.ts', `import type { x } from '../server/b.js';`],
  ['nest/server/a.ts', `import type { x } from '../client/b.js';`],
  ['nest/server/a.ts', `import { x } from '../client/proxies/b.js';`],
  ['nest/server/a.ts', `import { x } from '../../rpc/client/b.js';`],
  ['nest/server/a.ts', `import { Piscina } from 'piscina';`],
  ['nest/client/a.ts', `import type { x } from '../server/b.js';`],
  ['nest/client/a.ts', `import { x } from '../../rpc/server/b.js';`],
  ['nest/client/calls/a.ts', `import type { x } from '../b.js';`],
  ['nest/client/calls/a.ts', `import { x } from '../proxies/b.js';`],
  ['nest/client/proxies/a.ts', `import type { x } from '../b.js';`],
  ['nest/client/proxies/a.ts', `import { x } from '../../server/b.js';`],
  ['plugins/a.ts', `import { x } from '../net/b.js';`],
  ['plugins/a.ts', `import { x } from '../nest/server/b.js';`],
  ['plugins/a.ts', `import { of } from 'rxjs';`],
  ['plugins/a.ts', `import { Redis } from 'ioredis';`],
  ['plugins/a.ts', `import { x } from '../redis/b.js';`],
  ['redis/a.ts', `import { x } from '../nest/errors/b.js';`],
  ['testing/a.ts', `import { createServer } from 'node:net';`],
  ['testing/a.ts', `import { x } from '../plugins/b.js';`],
  ['nest/client/a.ts', `import { x } from '../../testing/b.js';`],
  ['health/a.ts', `import { createServer } from 'node:http';`],
  ['health/a.ts', `import { HealthIndicatorService } from '@nestjs/terminus';`],
  ['nest/server/a.ts', `import { x } from '../../health/b.js';`],
  ['nest/server/a.ts', `import { createServer } from 'node:http';`],
  ['nest/health/a.ts', `import { x } from '../server/b.js';`],
  ['index.ts', `export { createServer } from 'node:net';`],
  ['other/a.ts', `export const x = 1;`],
])('would fail on %s: %s', (file, source) => expect(violations(file, source)).not.toEqual([]));

it.each([
  ['protocol/a.ts', `import { isUtf8 } from 'node:buffer';\nimport { Packr } from 'msgpackr';`],
  ['protocol/a.ts', `import { x } from './b.js';\nimport { y } from './bytes/b.js';`],
  ['protocol/crypto/a.ts', `import { x } from '../b.js';`],
  [
    'protocol/a.ts',
    `// import net from 'node:net'; setTimeout\n/* import '../rpc/b.js' */\nexport const x = 1;`,
  ],
  [
    'net/a.ts',
    `import net from 'node:net';\nimport tls from 'node:tls';\nimport { x } from '../protocol/b.js';`,
  ],
  ['net/a.ts', `const { createServer } = await import('node:http');`],
  ['health/a.ts', `import type { x } from '../nest/server/b.js';\nimport { y } from '../net/b.js';`],
  ['rpc/time/a.ts', `import { x } from '../../protocol/b.js';\nsetTimeout(x);`],
  ['rpc/client/a.ts', `import { x } from '../connection/b.js';`],
  [
    'nest/client/a.ts',
    `import type { AddressInfo } from 'node:net';\nimport { x } from '../../cluster/b.js';`,
  ],
  ['nest/server/a.ts', `import { of } from 'rxjs';\nimport { x } from '../workers/b.js';`],
  ['nest/workers/a.mjs', `import { move } from 'piscina';\nimport { x } from './b.mjs';`],
  ['plugins/a.ts', `import { x } from '../nest/errors/b.js';`],
  [
    'redis/a.ts',
    `import type { x } from '../plugins/b.js';\nconst x = await import('rate-limiter-flexible');`,
  ],
  ['index.ts', `export { x } from './nest/server/b.js';`],
  ['redis.ts', `export { x } from './redis/b.js';`],
])('would pass %s: %s', (file, source) => expect(violations(file, source)).toEqual([]));

it.each([
  [{ 'a/x.ts': `import './x.js';` }, ['a/x.ts -> a/x.ts']],
  [
    { 'a/x.ts': `import type { y } from '../b/y.js';`, 'b/y.ts': `export { x } from '../a/x.js';` },
    ['a/x.ts -> b/y.ts -> a/x.ts'],
  ],
  [
    {
      'entry.ts': `import './x.js';`,
      'x.ts': `import { z } from './z.js';\nimport { end } from './end.js';`,
      'y.ts': `import { x } from './x.js';`,
      'z.ts': `let y: import('./y.js').Y;`,
      'end.ts': `import 'node:util';`,
    },
    ['x.ts -> z.ts -> y.ts -> x.ts'],
  ],
  [
    {
      'a.ts': `import './b.js';`,
      'b.ts': `import './a.js';`,
      'c.mjs': `import './d.mjs';`,
      'd.mjs': `import './c.mjs';`,
    },
    ['a.ts -> b.ts -> a.ts', 'c.mjs -> d.mjs -> c.mjs'],
  ],
  [{ 'a.ts': `import './b.js';\nimport './c.js';`, 'b.ts': `import './c.js';`, 'c.ts': '' }, []],
])('of %j the circles are %j', (set, found) => {
  expect(circles(importGraph(new Map(Object.entries(set))))).toEqual(found);
});

const classOf = (lines: number) => `export class X {\n${'  x;\n'.repeat(lines - 2)}}\n`;

it.each([
  ['a file', { 'a.ts': 'x;\n'.repeat(401) }, ['a.ts: 401 lines']],
  ['a class', { 'a.ts': classOf(301) }, ['a.ts: a class of 301 lines']],
  ['a folder', Object.fromEntries(Array.from({ length: 31 }, (_, i) => [`a/${i}.ts`, ''])), ['a: 31 files']],
  ['nothing', { 'a.ts': 'x;\n'.repeat(400), 'b.ts': classOf(300) + classOf(90) }, []],
])('would find too large: %s', (_, set, found) => {
  expect(oversized(new Map(Object.entries(set)), LIMITS)).toEqual(found);
});
