/** `gone`: known to be closed or draining, or not connected; no call can go there. */
export type Usability = 'healthy' | 'unhealthy' | 'gone';

/** Below this part of healthy servers, unhealthy ones get calls too: the few would break under the load of all. */
const PANIC_BELOW = 0.5;

/**
 * The servers that calls may go to: the healthy ones; all that are not gone if less than half of these are healthy.
 *
 * @param usabilityOf asked once for each server
 */
export function usableServers<E>(servers: readonly E[], usabilityOf: (server: E) => Usability): E[] {
  const healthy: E[] = [];
  const present: E[] = [];
  for (const server of servers) {
    const usability = usabilityOf(server);
    if (usability === 'gone') continue;
    present.push(server);
    if (usability === 'healthy') healthy.push(server);
  }
  return healthy.length < present.length * PANIC_BELOW ? present : healthy;
}
