import { assertKnown, type Keys } from '../nest/validation/known-options.js';
import { pluginLogger } from '../nest/lifecycle/plugin-logger.js';
import type { Clock } from '../protocol/clock.js';
import { CloseReason } from '../protocol/event.js';
import { systemClock } from '../rpc/time/system-clock.js';
import { ConnectionMiddleware, type RapConnection } from '../pipeline/api.js';
import { IpList } from './ip-list.js';
import type { IpListEdit, IpLists, IpListStore } from './ip-list-store.js';
import { normalRange, parseAddress } from './ip-range.js';
import { DEFAULT_STORE_TIMEOUT_MS, letsThrough, type OnStoreError, positive } from './plugin-options.js';
import { SharedLists } from './shared-lists.js';

/** One address or CIDR range, or several. */
export type IpEntries = string | readonly string[];

export interface IpFilterOptions {
  /** Addresses and CIDR ranges that may connect: no others may, and `block` is ignored. Empty or missing: all may connect. */
  allow?: readonly string[] | undefined;
  /** Addresses and CIDR ranges that may not connect. */
  block?: readonly string[] | undefined;
  /** Lists that servers share, in addition to these: `RedisIpListStore` of `nestjs-rap/redis`. */
  store?: IpListStore | undefined;
  /** How often the shared lists are polled for changes, in milliseconds. Default 1000. */
  pollMs?: number | undefined;
  /**
   * Until the shared lists were read for the first time: no connection is admitted (`closed`, the default), or the lists of
   * this server decide (`open`). After that, the last known lists apply while the store is down.
   */
  onStoreError?: OnStoreError | undefined;
  /** Time for an answer of the store, in milliseconds. Default 500. */
  storeTimeoutMs?: number | undefined;
  /** @internal */
  clock?: Clock | undefined;
}

const OPTIONS: Keys<IpFilterOptions> = {
  allow: true,
  block: true,
  store: true,
  pollMs: true,
  onStoreError: true,
  storeTimeoutMs: true,
  clock: true,
};

/**
 * Admits connections by their address. Others get CLOSE with rap's reason and are closed. The lists may be changed at any
 * time; a change applies to new connections, open ones stay. Unix sockets have no address and are admitted.
 */
export class IpFilterMiddleware extends ConnectionMiddleware {
  readonly #own: Readonly<Record<keyof IpLists, IpList>>;
  readonly #shared: SharedLists | undefined;
  readonly #letsThrough: boolean;

  /** @throws RangeError that names a malformed address or range, or an option that is out of range. */
  constructor(options: IpFilterOptions = {}) {
    super();
    assertKnown('IpFilterMiddleware', options, OPTIONS);
    const { allow, block, store, clock = systemClock, pollMs = 1000, storeTimeoutMs } = options;
    this.#own = { allow: listOf('allow', allow), block: listOf('block', block) };
    this.#letsThrough = letsThrough('onStoreError', options.onStoreError ?? 'closed');
    const logger = pluginLogger('IpFilterMiddleware');
    const shared = {
      clock,
      pollMs: positive('pollMs', pollMs),
      timeoutMs: positive('storeTimeoutMs', storeTimeoutMs ?? DEFAULT_STORE_TIMEOUT_MS),
      meanwhile: () => this.#meanwhile(),
      log: (message: string) => logger.warn(message),
    };
    this.#shared = store && new SharedLists(store, shared);
  }

  /** The lists that apply on this server now: its own and the shared ones. */
  get lists(): IpLists {
    return { allow: this.#entries('allow'), block: this.#entries('block') };
  }

  override use(connection: RapConnection, next: () => Promise<void>): void | Promise<void> {
    if (this.#admits(connection)) return next();
    connection.close(CloseReason.NotAllowed);
  }

  /** Allows addresses: adds them to the allow list, and removes them from the block list. */
  allow(entries: IpEntries): Promise<void> {
    return this.#edit(entries, { add: 'allow', remove: 'block' });
  }

  /** Blocks addresses: adds them to the block list, and removes them from the allow list. */
  block(entries: IpEntries): Promise<void> {
    return this.#edit(entries, { add: 'block', remove: 'allow' });
  }

  /** Removes entries from the allow list. Without entries it is off, and all that `block` does not list may connect. */
  removeAllowed(entries: IpEntries): Promise<void> {
    return this.#edit(entries, { remove: 'allow' });
  }

  /** Removes entries from the block list. */
  removeBlocked(entries: IpEntries): Promise<void> {
    return this.#edit(entries, { remove: 'block' });
  }

  override async onServerStart(): Promise<void> {
    await this.#shared?.start();
  }

  override onServerStop(): void {
    this.#shared?.stop();
  }

  #admits({ peer }: RapConnection): boolean {
    if (peer.family === 'unix') return true;
    const own = this.#own;
    const shared = this.#shared?.lists;
    if (this.#shared && !shared && !this.#letsThrough) return false;
    const address = parseAddress(peer.address);
    if (!address) return false; // closed already
    if (own.allow.size + (shared?.allow.size ?? 0) > 0) {
      return own.allow.has(address) || (shared?.allow.has(address) ?? false);
    }
    return !own.block.has(address) && !shared?.block.has(address);
  }

  /** @throws RangeError for a malformed entry, Error if the shared lists cannot be changed. Nothing has changed then. */
  async #edit(
    given: IpEntries,
    { add, remove }: { add?: keyof IpLists; remove: keyof IpLists },
  ): Promise<void> {
    const entries = (typeof given === 'string' ? [given] : given).map(normalRange);
    if (entries.length === 0) return;
    if (this.#shared) {
      const edits: IpListEdit[] = [{ list: remove, add: [], remove: entries }];
      if (add) edits.push({ list: add, add: entries, remove: [] });
      await this.#shared.edit(edits);
    } else if (add) this.#own[add].add(entries);
    this.#own[remove].remove(entries);
  }

  #entries(list: keyof IpLists): string[] {
    return [...new Set([...this.#own[list].entries(), ...(this.#shared?.lists?.[list].entries() ?? [])])];
  }

  #meanwhile(): string {
    if (this.#shared?.lists) return 'the last shared lists known go on';
    return this.#letsThrough ? 'the own lists decide' : 'connections are refused';
  }
}

function listOf(option: string, entries: readonly string[] = []): IpList {
  if (!Array.isArray(entries)) throw new RangeError(`${option} must be a list of addresses and CIDR ranges`);
  try {
    return new IpList(entries);
  } catch (error) {
    throw new RangeError(`${option}: ${(error as Error).message}`, { cause: error });
  }
}
