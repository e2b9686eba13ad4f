import type { RapClient } from '../nest/client/rap-client.js';
import type { EndpointStats } from '../nest/client/client-events.js';
import type { RapServer } from '../nest/server/rap-server.js';

/** What health is asked of. */
export type HealthTarget = RapServer | RapClient;

/** The state of a server or client, as it knows it: nothing is sent. */
export interface TargetState {
  readonly status: 'up' | 'degraded' | 'down';
  /** Why it is not up. */
  readonly message?: string;
  /** Numbers. */
  readonly data: Readonly<Record<string, unknown>>;
}

/** A server counts as overloaded if it refuses this share of its calls. */
const OVERLOADED_SHARE = 0.01;
const IMPAIRED: readonly EndpointStats['state'][] = ['suspect', 'ejected', 'backingOff', 'draining'];

export function isServer(target: unknown): target is RapServer {
  return has(target, 'registryVersion') && has(target, 'stats');
}

export function isClient(target: unknown): target is RapClient {
  return has(target, 'status') && has(target, 'withSession') && has(target, 'stats');
}

export function stateOf(target: HealthTarget): TargetState {
  return isServer(target) ? serverState(target) : clientState(target);
}

function serverState(server: RapServer): TargetState {
  const { connections, inFlight, refusedShare, loopDelayMs } = server.stats();
  const data = { connections, inFlight, loopDelayMs };
  const { reason } = server.health;
  if (reason !== undefined) return { status: 'down', message: reason, data };
  if (refusedShare < OVERLOADED_SHARE) return { status: 'up', data };
  const message = `overloaded: ${Math.round(refusedShare * 100)} % of the calls are refused`;
  return { status: 'degraded', message, data };
}

function clientState(client: RapClient): TargetState {
  const { inFlight, queued, endpoints } = client.stats();
  const status = statusOf(client);
  const data = { connection: status, inFlight, queued, ...(endpoints && { servers: countsOf(endpoints) }) };
  if (status !== 'connected') return { status: 'down', message: `not connected: ${status}`, data };
  const impaired = endpoints?.filter(({ state }) => IMPAIRED.includes(state)) ?? [];
  const message = [
    ...(queued > 0 ? [`${queued} calls wait until the server takes more`] : []),
    ...impaired.map(({ address, state }) => `${address} is ${state}`),
  ].join(', ');
  return message === '' ? { status: 'up', data } : { status: 'degraded', message, data };
}

/** The status that a client has told last. */
function statusOf(client: RapClient): string {
  let last: string = 'disconnected';
  client.status.subscribe((status) => (last = status)).unsubscribe();
  return last;
}

/** How many servers are in each state. */
function countsOf(endpoints: readonly EndpointStats[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { state } of endpoints) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

function has(target: unknown, name: string): boolean {
  return typeof target === 'object' && target !== null && name in target;
}
