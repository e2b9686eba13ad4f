import { assertKnown, type Keys } from '../nest/validation/known-options.js';
import { OverloadError } from '../nest/errors/errors.js';
import type { Clock } from '../protocol/clock.js';
import { isObject } from '../protocol/values/unknown.js';
import { verdictOf } from '../rpc/call-faults.js';
import { systemClock } from '../rpc/time/system-clock.js';
import { type ProcessorContext, RapProcessor, type RapRequest } from '../pipeline/api.js';
import { AdaptiveBreaker, type Breaker } from './adaptive-breaker.js';
import { boundedKey } from './bounded-key.js';
import { atLeast, positive } from './plugin-options.js';

/** The outcome of a call for a breaker; `undefined` if it says nothing about the server. */
export type IsFailure = (error: unknown) => boolean | undefined;

export interface CircuitBreakerOptions {
  /** Calls are made while their number is at most this multiple of those that succeeded. Default 2, as in Google's SRE book. */
  k?: number | undefined;
  /** Length of the window, in milliseconds. Default 120,000, as in Google's SRE book. */
  windowMs?: number | undefined;
  /** Key of a call: calls of one key share a breaker. Default: the server and the target. */
  key?: ((context: ProcessorContext) => string) | undefined;
  /** Makes the breaker of a key. Default: the adaptive throttling of Google's SRE book. */
  breaker?: ((key: string) => Breaker) | undefined;
  /**
   * Whether an error counts against the server. Default: lost connections, timeouts on either side, 429 and 500 do; other
   * errors are answers of a healthy server; a call that its caller cancelled, or that was never sent, does not count.
   */
  isFailure?: IsFailure | undefined;
  /** Most keys that are kept: those used last. Default 1024. */
  maxKeys?: number | undefined;
  /** From 0 to 1. Default `Math.random`. */
  random?: (() => number) | undefined;
  /** @internal */
  clock?: Clock | undefined;
}

const OPTIONS: Keys<CircuitBreakerOptions> = {
  k: true,
  windowMs: true,
  key: true,
  breaker: true,
  isFailure: true,
  maxKeys: true,
  random: true,
  clock: true,
};

/**
 * For clients: stops calling a server that fails, in proportion to how much it fails. A call that is not made rejects at
 * once with `OverloadError`. Channels and streams count as one call; events do not count.
 */
export class CircuitBreakerProcessor extends RapProcessor {
  readonly #breakers = new Map<string, Breaker>();
  readonly #keyOf: (context: ProcessorContext) => string;
  readonly #make: (key: string) => Breaker;
  readonly #isFailure: IsFailure;
  readonly #maxKeys: number;

  /** @throws RangeError that names the option that is out of range. */
  constructor(options: CircuitBreakerOptions = {}) {
    super();
    assertKnown('CircuitBreakerProcessor', options, OPTIONS);
    const { clock = systemClock, random = Math.random, k = 2, windowMs = 120_000, maxKeys = 1024 } = options;
    const adaptive = { k: atLeast(1, 'k', k), windowMs: positive('windowMs', windowMs), clock, random };
    this.#keyOf = options.key ?? serverAndTarget;
    this.#make = options.breaker ?? (() => new AdaptiveBreaker(adaptive));
    this.#isFailure = options.isFailure ?? blamesServer;
    this.#maxKeys = atLeast(1, 'maxKeys', maxKeys);
  }

  override processRequest(_request: RapRequest, context: ProcessorContext): void {
    // the outcome of an event is unknown, and a later message of a channel belongs to a call that was allowed
    if (context.kind === 'event' || context.state.has(this)) return;
    const breaker = this.#breakerOf(context);
    if (breaker.allow()) {
      context.state.set(this, breaker);
      return;
    }
    throw new OverloadError(`${context.target} fails too often: not called`);
  }

  override onContextExit({ state }: ProcessorContext, error?: unknown): void {
    const breaker = state.get(this) as Breaker | undefined;
    if (!breaker) return; // the call was not made
    const failed = error === undefined ? false : this.#isFailure(error);
    if (failed === undefined) return;
    if (failed) breaker.failure();
    else breaker.success();
  }

  #breakerOf(context: ProcessorContext): Breaker {
    const key = boundedKey('key', this.#keyOf(context));
    const known = this.#breakers.get(key);
    if (known) {
      this.#breakers.delete(key); // moves to the end: the one used last
    } else if (this.#breakers.size >= this.#maxKeys) {
      const [oldest] = this.#breakers.keys();
      this.#breakers.delete(oldest as string);
    }
    const breaker = known ?? this.#make(key);
    this.#breakers.set(key, breaker);
    return breaker;
  }
}

function serverAndTarget({ peer, target }: ProcessorContext): string {
  return `${peer.address}:${peer.port} ${target}`;
}

function blamesServer(error: unknown): boolean | undefined {
  const verdict = verdictOf(isObject(error) ? error : {});
  return verdict === 'ignored' ? undefined : verdict !== 'answered';
}
