import type { Keys } from '../nest/validation/known-options.js';
import { pluginLogger } from '../nest/lifecycle/plugin-logger.js';
import type { Clock } from '../protocol/clock.js';
import { systemClock } from '../rpc/time/system-clock.js';
import type { RapConnection } from '../pipeline/api.js';
import { type ConnLimit, type ConnPlace, type ConnStore, MemoryConnStore } from './conn-store.js';
import { DEFAULT_STORE_TIMEOUT_MS, letsThrough, type OnStoreError, positive } from './plugin-options.js';
import { StoreGuard } from './store-guard.js';

/** The store that counts connections, and what happens if it cannot be reached. */
export interface ConnStoreOptions {
  /** Counts connections. Default: in this process. `RedisConnStore` of `nestjs-rap/redis` is shared by servers. */
  store?: ConnStore | undefined;
  /** While the store cannot be reached: every connection is let in (`open`, the default), or none (`closed`). */
  onStoreError?: OnStoreError | undefined;
  /** Time for an answer of the store, in milliseconds. Default 500. */
  storeTimeoutMs?: number | undefined;
  /** @internal */
  clock?: Clock | undefined;
}

export const CONN_STORE_OPTIONS: Keys<ConnStoreOptions> = {
  store: true,
  onStoreError: true,
  storeTimeoutMs: true,
  clock: true,
};

/** Admits a connection if there is a place for it: what the limits on connections have in common. */
export class ConnGate {
  readonly #store: ConnStore;
  readonly #guard: StoreGuard;
  readonly #letsThrough: boolean;

  constructor(
    name: string,
    private readonly limit: ConnLimit,
    options: ConnStoreOptions,
  ) {
    const { clock = systemClock, onStoreError = 'open', storeTimeoutMs } = options;
    this.#store = options.store ?? new MemoryConnStore(clock);
    this.#letsThrough = letsThrough('onStoreError', onStoreError);
    const meanwhile = this.#letsThrough ? 'connections are not limited' : 'connections are refused';
    const logger = pluginLogger(name);
    this.#guard = new StoreGuard({
      timeoutMs: positive('storeTimeoutMs', storeTimeoutMs ?? DEFAULT_STORE_TIMEOUT_MS),
      clock,
      meanwhile: () => meanwhile,
      log: (message) => logger.warn(message),
    });
  }

  /** Serves the connection while it holds a place of `key`; closes it with `reason` if there is none. */
  async admit(
    key: string,
    connection: RapConnection,
    next: () => Promise<void>,
    reason: string,
  ): Promise<void> {
    const admission: Admission = { place: { key, id: connection.id }, isOver: false };
    try {
      if (!(await this.#takesPlace(admission))) {
        connection.close(reason);
        return;
      }
      try {
        await next();
      } finally {
        this.#store.release(admission.place);
      }
    } finally {
      admission.isOver = true;
    }
  }

  /** Released places are free for other servers, even if this process ends next. */
  async flush(): Promise<void> {
    const store = this.#store;
    if (!store.flush) return;
    await this.#guard.ask(async () => {
      await store.flush?.();
      return true;
    });
  }

  /** True if the connection is admitted: it has a place, or the store is down and `onStoreError` is `open`. */
  #takesPlace(admission: Admission): boolean | Promise<boolean> {
    const { place } = admission;
    const answer = this.#guard.ask(
      () => this.#store.acquire(place, this.limit),
      (late) => {
        if (late && admission.isOver) this.#store.release(place);
      },
    );
    return answer instanceof Promise
      ? answer.then((acquired) => this.#orWithoutStore(acquired, place))
      : this.#orWithoutStore(answer, place);
  }

  #orWithoutStore(acquired: boolean | undefined, place: ConnPlace): boolean {
    if (acquired !== undefined) return acquired;
    if (this.#letsThrough) this.#store.hold?.(place, this.limit);
    return this.#letsThrough;
  }
}

/** The admission of one connection. If the store grants the place late, after the end, it is released at once. */
interface Admission {
  readonly place: ConnPlace;
  isOver: boolean;
}
