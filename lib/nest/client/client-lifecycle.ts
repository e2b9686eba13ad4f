import { runOutside } from '../handlers/call-scope.js';
import { Lifecycle } from '../lifecycle/lifecycle.js';
import { assertLoadedOnce } from '../lifecycle/load-plugins.js';
import type { RapClientOptions } from './client-options.js';

/**
 * Start and stop of a client: it starts before it connects for the first time, and stops when it is closed. After that,
 * a later call starts it again.
 */
export class ClientLifecycle {
  #starting: Promise<void> | undefined;
  #ready: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(
    private readonly lifecycle: Lifecycle,
    private readonly onError: (error: unknown) => void,
  ) {}

  /** Whether it is started, or about to be. */
  get isStarted(): boolean {
    return this.#starting !== undefined;
  }

  /** Runs before each connection. @throws what an event or a processor throws; the next connection tries again */
  start(): Promise<void> {
    this.#starting ??= runOutside(async () => {
      await this.#stopping?.catch(() => {}); // a stop in progress ends first
      try {
        await this.lifecycle.starting();
      } catch (error) {
        this.#starting = undefined;
        throw error;
      }
    });
    return this.#starting;
  }

  /** The client is connected, for the first time or again. */
  connected(): void {
    if (this.#ready || !this.#starting) return;
    this.#ready = runOutside(() => this.lifecycle.started());
    this.#ready.catch(this.onError);
  }

  /** Resolves when the work after the first connection is done. @throws what an `afterStart` throws */
  async ready(): Promise<void> {
    await this.#ready;
  }

  /** Stops around `close`. May be called twice. @throws the first failure, once everything has stopped */
  stop(close: () => unknown): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = runOutside(() => this.#stop(close)).finally(() => (this.#stopping = undefined));
      this.#stopping.catch(this.onError); // a caller need not handle its rejection
    }
    return this.#stopping;
  }

  async #stop(close: () => unknown): Promise<void> {
    try {
      // with nothing to do before it, the connection ends synchronously
      if (this.lifecycle.waitsToStop) await this.lifecycle.stopping();
    } finally {
      try {
        await close();
      } finally {
        const starting = this.#starting;
        this.#starting = this.#ready = undefined;
        await starting?.catch(() => {});
        await this.lifecycle.stopped();
      }
    }
  }
}

const HOOKS = { start: 'onClientStart', stop: 'onClientStop' };

/** The lifecycle of a client with these options; `undefined` if it has no work to do. */
export function lifecycleOf(
  client: object,
  { events, processors = [] }: Pick<RapClientOptions, 'events' | 'processors'>,
  onError: (error: unknown) => void,
): ClientLifecycle | undefined {
  assertLoadedOnce(processors);
  if (!events && processors.length === 0) return undefined;
  return new ClientLifecycle(new Lifecycle(client, events, processors, HOOKS), onError);
}
