import { subsetOf } from '../../../lib/cluster/balancing/subset.js';
import type { SimServer } from './sim-server.js';

/** Chooses the servers of a client. */
export type Subset = (servers: readonly SimServer[], client: number) => readonly SimServer[];

export const everyServer: Subset = (servers) => servers;

export function rendezvous(size: number): Subset {
  return chosenOnce((addresses, client) => subsetOf(addresses, { size, key: `client-${client}` }));
}

export function ordinal(size: number, clients: number): Subset {
  return chosenOnce((addresses, client) => subsetOf(addresses, { size, ordinal: client, clients }));
}

/** The subsets of most scenarios, by rendezvous. */
export const TWENTY = rendezvous(20);

/** Balancers are compared on the same servers: 10,000 subsets of 1,000 servers take seconds. */
function chosenOnce(choose: (addresses: readonly string[], client: number) => readonly string[]): Subset {
  const known = new Map<string, Int32Array>();
  let last: readonly SimServer[] = [];
  let addresses: readonly string[] = [];
  let places = new Map<string, number>();
  return (servers, client) => {
    if (servers !== last) {
      last = servers;
      addresses = servers.map(({ address }) => address);
      places = new Map(addresses.map((address, index) => [address, index]));
    }
    const key = `${servers.length} ${addresses[0]} ${addresses.at(-1)} ${client}`;
    let chosen = known.get(key);
    if (!chosen) {
      chosen = Int32Array.from(choose(addresses, client), (address) => places.get(address) as number);
      known.set(key, chosen);
    }
    return Array.from(chosen, (place) => servers[place] as SimServer);
  };
}
