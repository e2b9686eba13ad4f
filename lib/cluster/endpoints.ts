import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { Endpoint, EndpointCounts } from './endpoint.js';
import { type CallCounts, sumOf } from './call-counts.js';
import type { ServerAddress } from './server-address.js';

export interface EndpointsOptions {
  /** Makes the endpoint of a server that is new in the list. */
  readonly make: (address: string, server: ServerAddress) => Endpoint;
  /** The address of a server as text: two servers with the same are one. */
  readonly addressOf: (server: ServerAddress) => string;
  /** The servers that this client uses, of all that are listed. */
  readonly subset: (addresses: readonly string[]) => ReadonlySet<string>;
}

/** Counts of the calls of a client of several servers now. */
export interface FleetCounts extends CallCounts {
  readonly endpoints: readonly EndpointCounts[];
}

/** What a new list has changed. */
export interface ListChange {
  readonly added: readonly Endpoint[];
  /** With whether they are listed, but not in the subset any more. */
  readonly removed: readonly { readonly endpoint: Endpoint; readonly isListed: boolean }[];
  /** Whether the weight of a server that stays has changed. */
  readonly isReweighted: boolean;
}

/** The servers that the resolver lists, and those that still finish their calls. */
export class Endpoints {
  readonly #listed = new Map<string, Endpoint>();
  readonly #leaving = new Set<Endpoint>();

  constructor(private readonly options: EndpointsOptions) {}

  get size(): number {
    return this.#listed.size;
  }

  /** Those that are listed. */
  listed(): IterableIterator<Endpoint> {
    return this.#listed.values();
  }

  /** All, those that finish their calls included. */
  all(): Endpoint[] {
    return [...this.#listed.values(), ...this.#leaving];
  }

  /** Any peer. */
  get peer(): ClientPeer | undefined {
    for (const endpoint of this.listed()) if (endpoint.isOpen) return endpoint.peer;
    return undefined;
  }

  /** Whether calls are in flight at any of them. */
  get haveCalls(): boolean {
    return this.all().some(({ traffic }) => traffic.inFlight > 0);
  }

  /** Whether no connection to any of them is draining, or leased. */
  get areDrained(): boolean {
    return this.all().every(({ pool }) => pool.isDrained);
  }

  /** Takes over a new list. */
  update(servers: readonly ServerAddress[]): ListChange {
    const { addressOf, subset, make } = this.options;
    const wanted = new Map<string, ServerAddress>();
    for (const server of servers) {
      const address = addressOf(server);
      if (!wanted.has(address)) wanted.set(address, server); // a server that is listed twice counts once
    }
    const chosen = subset([...wanted.keys()]);
    const leaving = [...this.#listed.values()].filter(({ address }) => !chosen.has(address));
    for (const endpoint of leaving) this.#listed.delete(endpoint.address);
    const added: Endpoint[] = [];
    let isReweighted = false;
    for (const [address, server] of wanted) {
      if (!chosen.has(address)) continue;
      const known = this.#listed.get(address);
      if (known) {
        if (known.describe(server)) isReweighted = true;
      } else {
        const endpoint = make(address, server);
        this.#listed.set(address, endpoint);
        added.push(endpoint);
      }
    }
    // last: a list that replaces all servers must not leave the client without any meanwhile
    for (const endpoint of leaving) this.#leaving.add(endpoint);
    const removed = leaving.map((endpoint) => ({ endpoint, isListed: wanted.has(endpoint.address) }));
    return { added, removed, isReweighted };
  }

  counts(): FleetCounts {
    const counts = sumOf(Array.from(this.all(), ({ pool }) => pool.counts()));
    return { ...counts, endpoints: Array.from(this.listed(), (each) => each.counts()) };
  }

  /** It is gone, and its last connection is closed. */
  forget(endpoint: Endpoint): void {
    this.#leaving.delete(endpoint);
  }
}
