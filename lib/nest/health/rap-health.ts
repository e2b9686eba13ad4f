import { RegisteredError } from '../errors/errors.js';
import { shown } from '../errors/shown.js';

/** State of a server or a service, in the words of gRPC's health protocol. */
export type ServingStatus = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

/** When a watch ends. */
export interface WatchEnd {
  readonly signal: AbortSignal;
  readonly draining: AbortSignal;
}

/**
 * The health of a server, which `/health/check` and `/health/watch` tell. A service is a group (`math`) or a function
 * (`math/sum`); `''` is the whole server. If that does not serve, no service does; if a group does not, none of its functions does.
 */
export class RapHealth {
  readonly #given = new Map<string, ServingStatus>();
  readonly #watchers = new Set<() => void>();
  #state: 'stopped' | 'serving' | 'draining' = 'stopped';

  /** @internal */
  constructor(
    /** Whether a public group or function of this name is registered. */
    private readonly isRegistered: (service: string) => boolean,
  ) {}

  /**
   * The status of a service. Private functions count as unknown, as long as `set` does not name them.
   *
   * @param service `'math'`, `'math/sum'`, or `''`, the default: the whole server
   */
  status(service = ''): ServingStatus {
    const name = nameOf(service);
    const own = this.#given.get(name);
    if (name !== '' && own === undefined && !this.isRegistered(name)) return 'SERVICE_UNKNOWN';
    if (this.reason !== undefined) return 'NOT_SERVING';
    const slash = name.indexOf('/');
    const group = slash < 0 ? undefined : this.#given.get(name.slice(0, slash));
    return own === 'NOT_SERVING' || group === 'NOT_SERVING' ? 'NOT_SERVING' : 'SERVING';
  }

  /** Why the whole server does not serve; `undefined` if it does. */
  get reason(): string | undefined {
    if (this.#state === 'draining') return 'the server shuts down';
    if (this.#state === 'stopped') return 'the server does not listen';
    return this.#given.get('') === 'NOT_SERVING' ? 'the application has set NOT_SERVING' : undefined;
  }

  /**
   * Sets the status of a service, until `clear`: of one that is registered, of the whole server (`''`), or of any other name, which
   * is then known. A server that does not listen, or drains, stays `NOT_SERVING`.
   *
   *     server.health.set('math', 'NOT_SERVING');
   *
   * @throws RegisteredError for a name or status that is not valid
   */
  set(service: string, status: 'SERVING' | 'NOT_SERVING'): void {
    if ((status as unknown) !== 'SERVING' && (status as unknown) !== 'NOT_SERVING')
      throw new RegisteredError(
        `health.set: the status must be SERVING or NOT_SERVING, got ${shown(status)}`,
      );
    this.#given.set(nameOf(service), status);
    this.changed();
  }

  /** Takes back what `set` has set. */
  clear(service: string): void {
    this.#given.delete(nameOf(service));
    this.changed();
  }

  /** @internal The server listens. */
  serves(): void {
    this.#state = 'serving';
    this.changed();
  }

  /** @internal The server begins to drain. */
  drains(): void {
    if (this.#state === 'serving') this.#state = 'draining';
    this.changed();
  }

  /** @internal The server is closed. */
  stops(): void {
    this.#state = 'stopped';
    this.changed();
  }

  /** @internal The status of some service may have changed. */
  changed(): void {
    for (const watcher of this.#watchers) watcher();
  }

  /** @internal The status now, and each change; ends when the server drains, after `NOT_SERVING`. */
  async *watch(service: string, { signal, draining }: WatchEnd): AsyncGenerator<{ status: ServingStatus }> {
    let wake: (() => void) | undefined;
    const watcher = (): void => wake?.();
    this.#watchers.add(watcher);
    signal.addEventListener('abort', watcher);
    draining.addEventListener('abort', watcher);
    try {
      let told: ServingStatus | undefined;
      while (!signal.aborted) {
        const status = this.status(service);
        if (status !== told) yield { status: (told = status) };
        else if (draining.aborted) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      this.#watchers.delete(watcher);
    }
  }
}

/** @throws RegisteredError unless it is text */
function nameOf(service: unknown): string {
  if (typeof service !== 'string')
    throw new RegisteredError(`health: the service must be text, got ${shown(service)}`);
  return service.startsWith('/') ? service.slice(1) : service;
}
