import { createHash } from 'node:crypto';
import type { HandlerRegistry } from './handler-registry.js';
import type { Route } from '../handlers/handler.js';
import { jsonSchemaOf } from '../validation/standard-schema.js';
import { ownRoute } from '../handlers/own-route.js';

const HASH_DIGITS = 16;

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

/** What a registry shows of its functions. It is made when it is asked for, and again after a change. */
export class RegistryList {
  #revision = -1;
  #entries: readonly RapRegistryEntry[] = [];
  #hash = '';

  constructor(private readonly registry: HandlerRegistry) {}

  get entries(): readonly RapRegistryEntry[] {
    this.#update();
    return this.#entries;
  }

  /** A hash of the entries, in any order, and the number of functions that were registered and unregistered. */
  get version(): string {
    this.#update();
    return `${this.#hash}.${this.registry.replacements}`;
  }

  /** `/registry/list` and `/registry/version`, which the server answers itself. */
  routes(access: 'private' | 'public'): Route[] {
    const own = { group: 'registry', isPrivate: access === 'private' };
    return [
      ownRoute({
        ...own,
        name: 'list',
        doc: 'Lists the functions of this server',
        handler: () => Promise.resolve(this.entries),
      }),
      ownRoute({
        ...own,
        name: 'version',
        doc: 'The version of the list of functions',
        handler: () => Promise.resolve(this.version),
      }),
    ];
  }

  #update(): void {
    const { revision, routes } = this.registry;
    if (this.#revision === revision) return;
    this.#revision = revision;
    this.#entries = routes.map(entryOf);
    const texts = this.#entries.map((entry) => JSON.stringify(entry)).toSorted();
    this.#hash = createHash('sha256').update(texts.join('\n')).digest('hex').slice(0, HASH_DIGITS);
  }
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
