import { assertKnown, type Keys } from '../nest/validation/known-options.js';
import { TooManyRequestsError } from '../nest/errors/errors.js';
import { pluginLogger } from '../nest/lifecycle/plugin-logger.js';
import type { Clock } from '../protocol/clock.js';
import { LifeCycle } from '../protocol/life-cycle.js';
import { systemClock } from '../rpc/time/system-clock.js';
import { type ProcessorContext, RapProcessor, type RapRequest } from '../pipeline/api.js';
import { boundedKey } from './bounded-key.js';
import {
  atLeast,
  DEFAULT_STORE_TIMEOUT_MS,
  letsThrough,
  type OnStoreError,
  positive,
} from './plugin-options.js';
import { MemoryRateStore, type Rate, type RateStore } from './rate-store.js';
import { STORE_REST_MS, StoreGuard } from './store-guard.js';

/**
 * Key that a request is counted under, such as the caller's address; `undefined` if the rule does not apply and the next one
 * decides; `false` if the request is not limited at all.
 */
export type RateKey = (request: RapRequest, context: ProcessorContext) => string | undefined | false;

export interface RateLimitRule {
  key: RateKey;
  /** Requests per second on average. Default: that of the options. */
  rate?: number | undefined;
  /** Requests at once. Default: that of the options, else the rate, at least 1. */
  burst?: number | undefined;
  /** Time after an excess in which all requests of the key are refused, in milliseconds. Default: that of the options, else 0. */
  blockTimeMs?: number | undefined;
  /** Count each message of a channel that the client sends, not only its opening. Default false. */
  everyMessage?: boolean | undefined;
  /** Separates its keys from those of other rules in a shared store. Default: its index in the list. */
  name?: string | undefined;
}

const RULE: Keys<RateLimitRule> = {
  key: true,
  rate: true,
  burst: true,
  blockTimeMs: true,
  everyMessage: true,
  name: true,
};

export interface RateLimitOptions {
  /** The first rule that has a key for a request counts it. A request that no rule applies to is not limited. */
  rules: readonly (RateLimitRule | RateKey)[];
  /** For rules without one. Default 100 per second. */
  rate?: number | undefined;
  burst?: number | undefined;
  blockTimeMs?: number | undefined;
  /** Counts requests. Default: in this process. `RedisRateStore` of `nestjs-rap/redis` is shared by servers. */
  store?: RateStore | undefined;
  /** Most keys that are kept in memory: those used last. Default 10,000. */
  maxKeys?: number | undefined;
  /** While the store cannot be reached: every request goes on (`open`, the default), or none (`closed`). */
  onStoreError?: OnStoreError | undefined;
  /** Time for an answer of the store, in milliseconds. Default 500. */
  storeTimeoutMs?: number | undefined;
  /** @internal */
  clock?: Clock | undefined;
}

const OPTIONS: Keys<RateLimitOptions> = {
  rules: true,
  rate: true,
  burst: true,
  blockTimeMs: true,
  store: true,
  maxKeys: true,
  onStoreError: true,
  storeTimeoutMs: true,
  clock: true,
};

interface Rule extends Rate {
  readonly key: RateKey;
  readonly everyMessage: boolean;
  /** What its keys come from: the path of `key` in the options. */
  readonly origin: string;
}

/**
 * Limits the rate of requests. The excess is answered with `TooManyRequestsError` (429) and
 * `details: { retryAfterMs }`, and never reaches the handler; an excess event is dropped. A channel or stream counts once.
 */
export class RateLimitProcessor extends RapProcessor {
  readonly #rules: readonly Rule[];
  readonly #store: RateStore;
  readonly #guard: StoreGuard;
  readonly #letsThrough: boolean;

  /** @throws RangeError that names the rule and option that is out of range. */
  constructor(options: RateLimitOptions) {
    super();
    assertKnown('RateLimitProcessor', options, OPTIONS);
    if (!Array.isArray(options?.rules)) throw new RangeError('rules must be a list of rules');
    const { clock = systemClock, maxKeys = 10_000, onStoreError = 'open', storeTimeoutMs } = options;
    this.#rules = options.rules.map((rule, index) => ruleOf(rule, index, options));
    if (new Set(this.#rules.map(({ name }) => name)).size < this.#rules.length) {
      throw new RangeError('rules: two of them have the same name');
    }
    this.#store = options.store ?? new MemoryRateStore(clock, atLeast(1, 'maxKeys', maxKeys));
    this.#letsThrough = letsThrough('onStoreError', onStoreError);
    const meanwhile = this.#letsThrough ? 'calls are not limited' : 'calls are refused';
    const logger = pluginLogger('RateLimitProcessor');
    this.#guard = new StoreGuard({
      timeoutMs: positive('storeTimeoutMs', storeTimeoutMs ?? DEFAULT_STORE_TIMEOUT_MS),
      clock,
      meanwhile: () => meanwhile,
      log: (message) => logger.warn(message),
    });
  }

  override processRequest(request: RapRequest, context: ProcessorContext): void | Promise<void> {
    const later = request.lifeCycle !== undefined && request.lifeCycle !== LifeCycle.Declare;
    for (const rule of this.#rules) {
      if (later && !rule.everyMessage) continue;
      const key = rule.key(request, context);
      if (key === false) return undefined;
      if (key !== undefined) return this.#count(rule, key);
    }
    return undefined;
  }

  override async onServerStart(): Promise<void> {
    await this.#store.onServerStart?.();
  }

  #count(rule: Rule, key: unknown): void | Promise<void> {
    const bounded = boundedKey(rule.origin, key);
    const answer = this.#guard.ask(() => this.#store.take(rule, bounded));
    if (answer instanceof Promise) return answer.then((waitMs) => this.#decide(waitMs));
    return this.#decide(answer);
  }

  #decide(waitMs: number | undefined): void {
    if (waitMs === undefined ? this.#letsThrough : waitMs <= 0) return;
    const message = waitMs === undefined ? 'The rate limit cannot be read' : 'Too many requests';
    // rounding errors of floating point are not a time to wait
    const retryAfterMs = Math.max(1, Math.ceil((waitMs ?? STORE_REST_MS) - 1e-6));
    throw new TooManyRequestsError(message, { details: { retryAfterMs } });
  }
}

function ruleOf(given: RateLimitRule | RateKey, index: number, defaults: RateLimitOptions): Rule {
  const rule = typeof given === 'function' ? { key: given } : given;
  assertKnown(`rules[${index}]`, rule, RULE);
  const of = (option: string): string => `rules[${index}].${option}`;
  if (typeof rule.key !== 'function') throw new RangeError(`${of('key')} must be a function`);
  const rate = positive(of('rate'), rule.rate ?? defaults.rate ?? 100);
  return {
    key: rule.key,
    origin: of('key'),
    name: rule.name ?? String(index),
    rate,
    burst: atLeast(1, of('burst'), rule.burst ?? defaults.burst ?? Math.max(1, rate)),
    blockTimeMs: atLeast(0, of('blockTimeMs'), rule.blockTimeMs ?? defaults.blockTimeMs ?? 0),
    everyMessage: rule.everyMessage ?? false,
  };
}
