import { Logger } from '@nestjs/common';
import { Server, type MessageHandler } from '@nestjs/microservices';
import { wrapCallingNest, wrapNest } from '../copies/nest-copies.js';
import type { RapPatternExtras } from '../handlers/handler.js';
import type { RapContext } from '../handlers/rap-context.js';
import type { RapHealth } from '../health/rap-health.js';
import type { RapServerEvents, RapStatus } from '../lifecycle/rap-events.js';
import { HandlerBindings } from './handler-bindings.js';
import type { RapFunctionExtras } from './run-time-function.js';
import { assertServerOptions, type RapServerOptions, timesOf } from './server-options.js';

/** What a server serves: the handlers that Nest binds, and functions that are registered at run time. */
export abstract class HandlingServer extends Server<RapServerEvents, RapStatus> {
  protected override readonly logger = new Logger('RapServer');
  /** @internal */
  protected readonly bindings: HandlerBindings;

  /** @throws RangeError for an option that does not exist or is out of range */
  constructor(options: RapServerOptions) {
    super();
    assertServerOptions(options);
    wrapNest();
    this.bindings = new HandlerBindings({
      runTimeoutMs: timesOf(options).runTimeoutMs,
      handlers: this.messageHandlers,
      normalize: (pattern) => this.normalizePattern(pattern),
      server: options,
    });
  }

  override addHandler(
    pattern: unknown,
    handler: MessageHandler,
    isEventHandler = false,
    extras: RapPatternExtras & Record<string, unknown> = {},
  ): void {
    wrapCallingNest((message) => this.logger.warn(message));
    this.bindings.add(pattern, handler, isEventHandler, extras);
  }

  /**
   * The handler of a pattern, of a target, or of the JSON text of a pattern, functions of `register` included; `null` if there
   * is none.
   */
  override getHandlerByPattern(pattern: string): MessageHandler | null {
    return this.bindings.find(pattern) ?? null;
  }

  /**
   * Serves a function, from now on: before or after `listen`, in place of one that was registered under the same pattern. Calls
   * that run end with the function they began with. It stays until `unregister`, over `close` and the next `listen`.
   *
   *     server.register('/math/sum', ({ a, b }: { a: number; b: number }) => a + b, { timeoutMs: 500 });
   *
   * The function gets the data of the call (a `RapChannel` with `kind: 'channel'`) and its `RapContext`, and returns a value, a
   * promise, a generator, a Readable or an Observable. Guards, pipes, interceptors and filters of the application do not apply;
   * schemas in `extras`, middleware, processors, `authorize` and time limits do. Errors are masked and logged as Nest does.
   *
   * @param pattern as in `@MessagePattern`
   * @throws RegisteredError if pattern, function or extras are not valid, or a controller handles the pattern and `extras` do
   *   not say `replace: true`; then nothing changes
   */
  register<T = unknown>(
    pattern: unknown,
    handler: (data: T, context: RapContext) => unknown,
    extras: RapFunctionExtras = {},
  ): void {
    this.bindings.register(pattern, handler, extras);
  }

  /**
   * Ends what `register` began: a controller's handler that the function stood in for is found again, else callers get the error
   * of an unknown function. Calls that run end regularly.
   *
   * @param extras with the group, if `register` got one
   * @returns false if no function is registered under the pattern
   * @throws RegisteredError if the pattern is not valid, or that of a controller's handler, which cannot be taken away
   */
  unregister(pattern: unknown, extras: Pick<RapFunctionExtras, 'group'> = {}): boolean {
    return this.bindings.unregister(pattern, extras);
  }

  /** What `/health/check` and `/health/watch` tell; the application may set the status of its services. */
  get health(): RapHealth {
    return this.bindings.health;
  }

  /**
   * The version of the list of functions, `<hash>.<changes>`: the hash is that of `/registry/list`, the same in every process
   * that serves the same functions; the second part counts calls of `register` and `unregister`.
   */
  get registryVersion(): string {
    return this.bindings.list.version;
  }
}
