import { formatTarget } from '../../protocol/target.js';
import type { HandlerRegistry } from './handler-registry.js';
import type { Route } from '../handlers/handler.js';
import { jsonSchemaOf } from '../validation/standard-schema.js';

/** A function in `/registry/list`: the fields of Python's server, then those of this project. */
export interface RapRegistryEntry {
  readonly group: string;
  /** `channel` for what is opened as a duplex channel, else `normal`. */
  readonly func_type: 'normal' | 'channel';
  /** Whether it streams. */
  readonly is_gen_func: boolean;
  readonly is_private: boolean;
  readonly doc: string;
  readonly func_name: string;
  /** Class of the handler if it is known, else empty. */
  readonly module_name: string;
  readonly kind: Route['kind'];
  readonly idempotent: boolean;
  readonly timeout_ms?: number;
  /** JSON Schema of what the caller sends, if the schema's library offers one. */
  readonly input?: Readonly<Record<string, unknown>>;
  /** JSON Schema of what it gets. */
  readonly output?: Readonly<Record<string, unknown>>;
}

/** `/registry/list`, which the server answers itself. */
export function listRoute(registry: HandlerRegistry, access: 'private' | 'public'): Route {
  let entries: RapRegistryEntry[] | undefined;
  const target = formatTarget('registry', 'list');
  return {
    target,
    group: 'registry',
    name: 'list',
    pattern: target,
    handler: () => {
      // handlers are only added: an unchanged length means an unchanged list
      if (entries?.length !== registry.routes.length) entries = registry.routes.map(entryOf);
      return Promise.resolve(entries);
    },
    kind: 'unary',
    isUnary: true,
    isPrivate: access === 'private',
    timeoutMs: undefined,
    idempotent: true,
    doc: 'Lists the functions of this server',
    isChannel: false,
    owner: 'RapServer.list',
    input: undefined,
    output: undefined,
  };
}

function entryOf(route: Route): RapRegistryEntry {
  const { group, name, kind, doc, isPrivate, isChannel, idempotent, timeoutMs, owner } = route;
  const input = jsonSchemaOf(route.input, 'input');
  const output = jsonSchemaOf(route.output, 'output');
  return {
    group,
    func_type: isChannel ? 'channel' : 'normal',
    is_gen_func: kind === 'stream',
    is_private: isPrivate,
    doc,
    func_name: name,
    module_name: owner?.slice(0, owner.lastIndexOf('.')) ?? '',
    kind,
    idempotent,
    ...(timeoutMs === undefined ? {} : { timeout_ms: timeoutMs }),
    ...(input ? { input } : {}),
    ...(output ? { output } : {}),
  };
}
