import type { EndpointChange, EndpointCounts } from '../../cluster/endpoint.js';
import type { FleetCounts } from '../../cluster/endpoints.js';
import type { CallCounts, ConnectionStatus } from '../../cluster/peer-source.js';
import type { Fault } from '../../protocol/fault.js';
import { toRapError } from '../errors/to-rap-error.js';
import type { EventListeners } from '../lifecycle/event-listeners.js';
import { RapStatus } from '../lifecycle/rap-events.js';

/** Events of `RapClient.on`. */
export type RapClientEvents = {
  /** The client is connected: with several servers, to the first of them. */
  connect: () => void;
  /** The connection is closed; with `reconnect`, `reconnecting` follows, and the client reconnects. */
  disconnect: (reason: Error | undefined) => void;
  reconnecting: (reason: Error | undefined) => void;
  /** One of several servers has changed its state. */
  endpoint: (change: EndpointChange) => void;
};

/** Numbers of one server, as `RapClient.stats()` shows them. */
export interface EndpointStats extends Omit<EndpointCounts, 'ejectedForMs'> {
  /** When its ejection ends, as `Date.now()` counts; `undefined` if it is not ejected. */
  readonly ejectedUntil: number | undefined;
}

/** What `RapClient.stats()` returns. */
export interface RapClientStats extends CallCounts {
  /** The servers, if the client may have several. */
  readonly endpoints?: readonly EndpointStats[] | undefined;
}

/** Tells the listeners that the state of the connection has changed. */
export function emitStatus(
  listeners: EventListeners<RapClientEvents>,
  status: ConnectionStatus,
  reason: Fault | undefined,
): void {
  const error = toRapError(reason) as Error | undefined;
  if (status === RapStatus.Connected) listeners.emit('connect');
  else if (status === RapStatus.Disconnected) listeners.emit('disconnect', error);
  else if (status === RapStatus.Reconnecting && reason) listeners.emit('reconnecting', error);
}

/** The counts with times of the wall clock. */
export function statsOf(counts: CallCounts & Partial<FleetCounts>): RapClientStats {
  const { endpoints, ...calls } = counts;
  return endpoints ? { ...calls, endpoints: endpoints.map(endpointStatsOf) } : calls;
}

function endpointStatsOf({ ejectedForMs, ...counts }: EndpointCounts): EndpointStats {
  const ejectedUntil = ejectedForMs === undefined ? undefined : Math.round(Date.now() + ejectedForMs);
  return { ...counts, ejectedUntil };
}
