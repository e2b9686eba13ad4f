import { Plugins } from '../../pipeline/plugin-hooks.js';

/** A function, or several, that run one after the other. */
export type LifecycleListeners = (() => unknown) | readonly (() => unknown)[];

/** What is called around start and stop, awaited in order. */
export interface LifecycleEvents {
  beforeStart?: LifecycleListeners | undefined;
  afterStart?: LifecycleListeners | undefined;
  beforeStop?: LifecycleListeners | undefined;
  afterStop?: LifecycleListeners | undefined;
}

export const LIFECYCLE_EVENTS: Record<keyof Required<LifecycleEvents>, true> = {
  beforeStart: true,
  afterStart: true,
  beforeStop: true,
  afterStop: true,
};

/** Start and stop of a server or client: its events, and the hooks of what was loaded into it. */
export class Lifecycle {
  readonly #plugins: Plugins;

  constructor(
    private readonly owner: object,
    private readonly events: LifecycleEvents = {},
    plugins: readonly object[],
    names: { readonly start: string; readonly stop: string },
  ) {
    this.#plugins = new Plugins(plugins, names);
  }

  /** @throws what an event or a plugin throws; then nothing is started */
  async starting(): Promise<void> {
    await runAll(this.events.beforeStart);
    await this.#plugins.start(this.owner);
  }

  started(): Promise<void> {
    return runAll(this.events.afterStart);
  }

  /** Whether something comes before the stop. */
  get waitsToStop(): boolean {
    return this.events.beforeStop !== undefined;
  }

  stopping(): Promise<void> {
    return runAll(this.events.beforeStop);
  }

  /** The start has failed, or the stop: what was started is stopped again. */
  async undo(): Promise<void> {
    await this.#plugins.stop(this.owner).catch(() => {}); // why it failed matters more
  }

  /** @throws the first failure of a plugin; then the events after the stop are not called */
  async stopped(): Promise<void> {
    await this.#plugins.stop(this.owner);
    await runAll(this.events.afterStop);
  }
}

async function runAll(listeners: LifecycleListeners | undefined): Promise<void> {
  for (const listener of typeof listeners === 'function' ? [listeners] : (listeners ?? [])) await listener();
}
