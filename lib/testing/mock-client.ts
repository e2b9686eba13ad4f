import type { ReadPacket } from '@nestjs/microservices';
import { inspect } from 'node:util';
import type { ChannelOptions } from '../nest/client/calls/rap-session.js';
import type { RapClientOptions } from '../nest/client/client-options.js';
import { RapClient } from '../nest/client/rap-client.js';
import { FuncNotFoundError, RegisteredError } from '../nest/errors/errors.js';
import type { RapContext } from '../nest/handlers/rap-context.js';
import { targetOf } from '../nest/handlers/pattern.js';
import type { RapChannel } from '../nest/streams/rap-channel.js';
import { isObject } from '../protocol/values/unknown.js';
import { calledAt } from './made-at.js';
import { type MockRoute, MockServer, type RapMockOptions } from './mock-server.js';

/** Handles calls, events and streams of one pattern: returns a value or a stream, or throws what the caller gets. */
// oxlint-disable-next-line typescript/no-explicit-any -- what the code under test sends
export type RapMockHandler = (data: any, context: RapContext) => unknown;

/** A handler of channels, see {@link mockChannel}. */
export class RapMockChannel {
  /** @internal */
  constructor(readonly handler: (channel: never, context: RapContext) => unknown) {}
}

/** Handlers by pattern: `'sum'` or `'/math/sum'`. */
export type RapMockHandlers = Readonly<Record<string, RapMockHandler | RapMockChannel>>;

/** Marks a handler of {@link mockClient} that handles channels, as `@ChannelPattern` does. The channel ends when it returns. */
export function mockChannel<In = unknown, Out = unknown>(
  handler: (channel: RapChannel<In, Out>, context: RapContext) => unknown,
): RapMockChannel {
  assertFunction('mockChannel()', handler);
  return new RapMockChannel(handler);
}

/**
 * A `RapClient` whose calls go to your functions, for code that injects one. It is a real client of a server in memory: values are
 * copied as on the wire, and errors, streams, time limits and cancels are the real ones. It need not be closed.
 *
 *     const math = mockClient({ sum: ({ a, b }) => a + b });
 *     new Shop(math);
 *
 * A handler gets what the caller has sent and, if it declares a second parameter, the `RapContext`. It may be a spy of any test
 * framework. A pattern that has no handler fails with `FuncNotFoundError`, which names those that have one.
 *
 * @throws TypeError if a handler is not a function; RegisteredError for two handlers of one target
 */
export function mockClient(handlers: RapMockHandlers, options: RapMockOptions = {}): RapClient {
  if (!isObject(handlers))
    throw new TypeError(`mockClient() needs handlers by pattern, got ${inspect(handlers)}`);
  const routes = Object.entries(handlers).map(([pattern, handler]): MockRoute => {
    const isChannel = handler instanceof RapMockChannel;
    if (!isChannel) assertFunction(`mockClient(): ${pattern}`, handler);
    return {
      pattern,
      extras: isChannel ? { kind: 'channel' } : {},
      handler: isChannel ? () => handler.handler : () => handlers[pattern] as RapMockHandler,
    };
  });
  const at = calledAt(mockClient);
  const server = new MockServer(
    `mockClient()${at === undefined ? '' : ` made at ${at}`}`,
    routes,
    options.server,
  );
  return new MockClient(server.world.inside(options.client ?? {}), Object.keys(handlers));
}

/** Names the handlers that there are if one is missing. */
class MockClient extends RapClient {
  readonly #targets: ReadonlySet<string>;

  constructor(options: RapClientOptions, patterns: readonly string[]) {
    super(options);
    this.#targets = new Set(patterns.map((pattern) => this.#targetOf(pattern)));
    if (this.#targets.size < patterns.length)
      throw new RegisteredError(`mockClient(): two handlers for one target, of ${patterns.join(', ')}`);
  }

  /** A channel is usable at once, and fails later: it is checked before. */
  override async channel<In = unknown, Out = unknown>(
    pattern: unknown,
    options?: ChannelOptions,
  ): Promise<RapChannel<In, Out>> {
    const target = this.#targetOf(pattern);
    if (!this.#targets.has(target)) throw new FuncNotFoundError(this.#missing(target));
    return super.channel<In, Out>(pattern, options);
  }

  /** A server takes events that nobody handles. */
  protected override async dispatchEvent<T = unknown>(packet: ReadPacket): Promise<T> {
    const target = this.#targetOf(packet.pattern);
    if (!this.#targets.has(target)) throw new FuncNotFoundError(this.#missing(target));
    return super.dispatchEvent<T>(packet);
  }

  protected override serializeError(error: unknown): unknown {
    const shown: unknown = super.serializeError(error);
    const target = shown instanceof FuncNotFoundError ? shown.call?.target : undefined;
    if (target !== undefined && !this.#targets.has(target))
      Reflect.set(shown as object, 'message', this.#missing(target));
    return shown;
  }

  #missing(target: string): string {
    const known = [...this.#targets].join(', ');
    return `mockClient() has no handler for ${target}; it has ${known === '' ? 'none' : known}`;
  }

  #targetOf(pattern: unknown): string {
    return targetOf(pattern, (it) => this.normalizePattern(it));
  }
}

/** @throws TypeError */
export function assertFunction(what: string, handler: unknown): void {
  if (typeof handler !== 'function') throw new TypeError(`${what} needs a function, got ${inspect(handler)}`);
}
