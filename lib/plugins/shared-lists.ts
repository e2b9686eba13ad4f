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

/** This server's copy of lists that servers share: polls the store for changes while it is started. */
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

  /** The last known lists; `undefined` before they were read for the first time. */
  get lists(): Readonly<Record<keyof IpLists, IpList>> | undefined {
    return this.#lists;
  }

  /** Reads the lists, and polls for changes from then on. Does not fail if the store is down. */
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

  /** Reads the lists if they have changed. */
  async refresh(): Promise<void> {
    await this.#guard.ask(async () => {
      const loaded = await this.store.load(this.#loaded);
      if (loaded === 'unchanged') return true;
      // a malformed entry fails here: then the last known lists stay in use, and the log names the entry
      const { allow, block } = this.#lists ?? {};
      this.#lists = { allow: new IpList(loaded.allow, allow), block: new IpList(loaded.block, block) };
      this.#loaded = loaded;
      return true;
    });
  }

  /** @throws Error if the store does not confirm the change in time; it may be made nevertheless. */
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
    this.#timer?.cancel(); // set by a stop and a start during the request
    this.#timer = this.options.clock.after(this.options.pollMs, () => {
      void this.refresh().then(() => this.#poll());
    });
  }
}
