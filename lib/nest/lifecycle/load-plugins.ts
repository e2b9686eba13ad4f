import { inspect } from 'node:util';
import type {
  ConnectionMiddleware,
  MessageMiddleware,
  RapMiddleware,
  RapProcessor,
} from '../../pipeline/api.js';
import { Processors, type ProcessorsOptions } from '../../pipeline/exchange.js';
import { isObject } from '../../protocol/values/unknown.js';
import { SECURITY } from '../../rpc/connection/security.js';

/** Middleware by scope; `undefined` if there is none of a scope. */
export interface LoadedMiddleware {
  readonly connection: readonly ConnectionMiddleware[] | undefined;
  readonly message: readonly MessageMiddleware[] | undefined;
}

const PROCESSOR_METHODS = [
  'processRequest',
  'processResponse',
  'onContextEnter',
  'onContextExit',
  'onServerStart',
  'onServerStop',
  'onClientStart',
  'onClientStop',
];

/** @throws TypeError if an item is not middleware */
export function loadMiddleware(list: readonly RapMiddleware[] = []): LoadedMiddleware {
  list.forEach((it, i) => {
    assertInstance(`middleware[${i}]`, it, ['use']);
    if (it.scope !== 'connection' && it.scope !== 'message') {
      const given = inspect((it as { scope?: unknown }).scope);
      throw new TypeError(`middleware[${i}].scope must be 'connection' or 'message', got ${given}`);
    }
  });
  const connection = list.filter((it) => it.scope === 'connection');
  const message = list.filter((it) => it.scope === 'message');
  return {
    connection: connection.length > 0 ? connection : undefined,
    message: message.length > 0 ? message : undefined,
  };
}

/** `undefined` if there are none. @throws TypeError if an item is not a processor */
export function loadProcessors(
  list: readonly RapProcessor[] = [],
  options: ProcessorsOptions,
): Processors | undefined {
  list.forEach((it, i) => assertInstance(`processors[${i}]`, it, [...PROCESSOR_METHODS, SECURITY]));
  // a processor that secures connections works below messages
  const working = list.filter((it) => !(SECURITY in it));
  return working.length > 0 ? new Processors(working, options) : undefined;
}

/** @throws TypeError if an instance is loaded twice, also as middleware and processor */
export function assertLoadedOnce(plugins: readonly object[]): void {
  plugins.forEach((plugin, i) => {
    if (plugins.indexOf(plugin) === i) return;
    throw new TypeError(
      `the same ${plugin.constructor.name} is loaded twice: give each place its own instance`,
    );
  });
}

function assertInstance(where: string, it: unknown, methods: readonly (string | symbol)[]): void {
  if (typeof it === 'function')
    throw new TypeError(`${where} is the class ${it.name}: pass an instance of it`);
  if (!isObject(it)) throw new TypeError(`${where} must be an object, got ${inspect(it)}`);
  const given = methods.filter((name) => (it as Record<string | symbol, unknown>)[name] !== undefined);
  for (const name of given) {
    if (typeof name === 'string' && typeof (it as Record<string, unknown>)[name] !== 'function')
      throw new TypeError(`${where}.${name} must be a function`);
  }
  if (given.length === 0) {
    const names = methods.filter((name) => typeof name === 'string');
    throw new TypeError(`${where} has none of the methods ${names.join(', ')}`);
  }
}
