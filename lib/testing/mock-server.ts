import type { RapServer } from '../nest/server/rap-server.js';
import type { RapServerOptions } from '../nest/server/server-options.js';
import type { RapClientOptions } from '../nest/client/client-options.js';
import type { RapContext } from '../nest/handlers/rap-context.js';
import type { RapPatternExtras } from '../nest/handlers/handler.js';
import { World } from './world.js';

/** Options of the server and the client that a mock is made of. */
export interface RapMockOptions {
  /** Options of its server, such as `limits` or `exposeErrors`. */
  server?: RapServerOptions | undefined;
  /** Options of its client, such as `callTimeoutMs`. */
  client?: RapClientOptions | undefined;
}

/** A function that handles calls, as the mock is given it. */
export type AnyHandler = (data: never, context: RapContext) => unknown;

/** A handler of a mock. */
export interface MockRoute {
  readonly pattern: string;
  readonly extras: RapPatternExtras;
  /** Looked up at each call: a test may replace it by a spy. */
  readonly handler: () => AnyHandler;
}

/** A server in memory with the handlers of a mock. It starts with the first connection, and holds nothing that must be closed. */
export class MockServer {
  readonly world: World;
  readonly #server: RapServer;
  #started: Promise<void> | undefined;

  constructor(what: string, routes: readonly MockRoute[], options: RapServerOptions | undefined) {
    this.world = new World({ name: what, ready: () => this.#start() });
    this.#server = this.world.server(options);
    for (const { pattern, extras, handler } of routes)
      this.#server.addHandler(pattern, handlerOf(handler), false, { ...extras });
  }

  #start(): Promise<void> {
    this.#started ??= new Promise((resolve, reject) =>
      this.#server.listen((error) => (error ? reject(error) : resolve())),
    );
    return this.#started;
  }
}

/** Passes the context only to a function that takes it: a spy then records what was sent, and nothing else. */
function handlerOf(find: () => AnyHandler): (data: unknown, context: RapContext) => Promise<unknown> {
  return async (data, context) => {
    const handler = find() as (...args: unknown[]) => unknown;
    return handler.length > 1 ? handler(data, context) : handler(data);
  };
}
