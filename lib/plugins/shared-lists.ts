import type { Clock, Timer } from '../protocol/clock.js';
import { IpList } from './ip-list.js';
import type { IpListEdit, IpListStore, IpLists, LoadedIpLists } from './ip-list-store.js';
import { StoreGuard } from './store-guard.js';

export interface SharedListsOptions {
  readonly clock: Clock;
  readonly pollMs: number;
  readonly timeoutMs: number;
  readonly meanwhile: () => string;
  readonly log: (message: string) => void;
}

/** This server's copy of lists that servers share: asks the store for changes while it is started. */
export class SharedLists {
  readonly #guard: StoreGuard;
  #loaded: LoadedIpLists | undefined;
  #lists: Readonly<Record<keyof IpLists, IpList>> | undefined;
  #users = 0;
  #timer: Timer | undefined;

  constructor(
    private readonly store: IpListStore,
    private readonly options: SharedListsOptions,
  ) {
    this.#guard = new StoreGuard(options);
  }

  /** The last ones known; `undefined` before they were read for the first time. */
  get lists(): Readonly<Record<keyof IpLists, IpList>> | undefined {
    return this.#lists;
  }

  /** Reads the lists, and goes on looking for changes. Does not fail where the store is down. */
  async start(): Promise<void> {
    this.#users += 1;
    if (this.#users > 1) return;
    await this.refresh();
    this.#poll();
  }

  stop(): void {
    this.#users -= 1;
    if (this.#users === 0) this.#timer?.cancel();
  }

  /** Reads the lists where they have changed. */
  async refresh(): Promise<void> {
    await this.#guard.ask(async () => {
      const loaded = await this.store.load(this.#loaded);
      if (loaded === 'unchanged') return true;
      // a malformed entry fails here: then the last lists known go on, and the log says which it is
      const { allow, block } = this.#lists ?? {};
      this.#lists = { allow: new IpList(loaded.allow, allow), block: new IpList(loaded.block, block) };
      this.#loaded = loaded;
      return true;
    });
  }

  /** @throws Error where the store does not say in time that the change is made; it may be made all the same. */
  async edit(edits: readonly IpListEdit[]): Promise<void> {
    const done = await this.#guard.insist(async () => {
      await this.store.edit(edits, this.#loaded);
      return true;
    });
    if (!done) throw new Error('the shared lists were not changed: the store cannot be reached');
    await this.refresh();
  }

  #poll(): void {
    if (this.#users === 0) return;
    this.#timer?.cancel(); // one after a stop and a start while the store was asked
    this.#timer = this.options.clock.after(this.options.pollMs, () => {
      void this.refresh().then(() => this.#poll());
    });
  }
}
