import { addressKey } from '../../protocol/address-key.js';
import type { RemoteAddress } from '../../protocol/link.js';
import type { LoadLimits } from '../../rpc/load.js';
import { Load } from '../../rpc/load.js';

interface Share {
  connections: number;
  readonly load: Load;
}

/** The connections of each address, and the load that it causes. IPv6 addresses count by /64. */
export class AddressShares {
  readonly #shares = new Map<string, Share>();
  /** Addresses without connections, whose handlers may still run. */
  readonly #left = new Set<string>();

  constructor(
    private readonly limits: LoadLimits,
    /** Load of the whole server. */
    private readonly total: Load,
  ) {}

  /** How many addresses are known. */
  get size(): number {
    return this.#shares.size;
  }

  /** Connections of the address; 0 for a Unix socket, which is not counted. */
  connectionsOf(remote: RemoteAddress): number {
    const key = keyOf(remote);
    return key === undefined ? 0 : (this.#shares.get(key)?.connections ?? 0);
  }

  /** Counts a new connection. Returns the load that it adds to. */
  enter(remote: RemoteAddress): Load {
    this.#sweep();
    const key = keyOf(remote);
    if (key === undefined) return this.total;
    let share = this.#shares.get(key);
    if (!share) {
      share = { connections: 0, load: new Load(this.limits, this.total) };
      this.#shares.set(key, share);
    }
    share.connections += 1;
    this.#left.delete(key);
    return share.load;
  }

  /** A connection is gone. */
  leave(remote: RemoteAddress): void {
    const key = keyOf(remote);
    const share = key === undefined ? undefined : this.#shares.get(key);
    if (!share) return;
    share.connections -= 1;
    if (share.connections === 0) this.#left.add(key as string);
    this.#sweep();
  }

  /** Removes addresses for which nothing runs any more. */
  #sweep(): void {
    for (const key of this.#left) {
      const load = this.#shares.get(key)?.load;
      if (load && !load.isIdle) continue;
      this.#left.delete(key);
      this.#shares.delete(key);
    }
  }
}

function keyOf({ address, family }: RemoteAddress): string | undefined {
  return family === 'unix' ? undefined : addressKey(address); // the path is the server's own
}
