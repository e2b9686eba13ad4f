/**
 * Whether calls can go to a server: `closed` counts among the servers but has no connection; `gone` drains, or is not listed any
 * more.
 */
export type Usability = 'healthy' | 'unhealthy' | 'closed' | 'gone';

/** Below this part of healthy servers, unhealthy ones get calls too: the few would break under the load of all. */
const PANIC_BELOW = 0.5;

/**
 * The servers that calls may go to: the healthy ones; all that have a connection if less than half of those that are not gone are
 * healthy.
 *
 * @param usabilityOf asked once for each server
 */
export function usableServers<E>(servers: Iterable<E>, usabilityOf: (server: E) => Usability): E[] {
  const healthy: E[] = [];
  const connected: E[] = [];
  let present = 0;
  for (const server of servers) {
    const usability = usabilityOf(server);
    if (usability === 'gone') continue;
    present += 1;
    if (usability === 'healthy') healthy.push(server);
    if (usability !== 'closed') connected.push(server);
  }
  return healthy.length < present * PANIC_BELOW ? connected : healthy;
}
