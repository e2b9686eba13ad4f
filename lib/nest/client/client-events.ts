import type { EndpointChange, EndpointCounts } from '../../cluster/endpoint.js';
import type { FleetCounts } from '../../cluster/endpoints.js';
import type { CallCounts } from '../../cluster/call-counts.js';
import type { ConnectionStatus } from '../../cluster/peer-source.js';
import { Collected } from '../../diagnostics/collected.js';
import type { RapClientNumbers } from '../../diagnostics/messages.js';
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
  /** The state of the connection has changed, as `RapClient.status` tells it, with the reason of a loss. */
  status: (status: RapStatus, reason: Error | undefined) => void;
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

/** Tells listeners of changes of the connection's state. */
export class StatusEvents {
  #status: ConnectionStatus = RapStatus.Disconnected;

  constructor(private readonly listeners: EventListeners<RapClientEvents>) {}

  /** Attempts to connect tell the same state again, which is no change. */
  tell(status: ConnectionStatus, reason: Fault | undefined): void {
    const { listeners } = this;
    const error = toRapError(reason) as Error | undefined;
    const hasChanged = status !== this.#status;
    this.#status = status;
    if (hasChanged) listeners.emit('status', status, error);
    if (status !== this.#status) return; // a listener has closed the client
    if (status === RapStatus.Connected) listeners.emit('connect');
    else if (status === RapStatus.Disconnected) listeners.emit('disconnect', error);
    else if (status === RapStatus.Reconnecting && reason) listeners.emit('reconnecting', error);
  }
}

/** The counts with times of the wall clock. */
export function statsOf(counts: CallCounts & Partial<FleetCounts>): RapClientStats {
  const { endpoints, ...calls } = counts;
  return endpoints ? { ...calls, endpoints: endpoints.map(endpointStatsOf) } : calls;
}

/** A client as metrics see it: as long as it connects, or its connections drain. */
export class CollectedClient {
  readonly #collected = new Collected((to) => to.client(numbersOf(this.counts())));

  constructor(private readonly counts: () => CallCounts & Partial<FleetCounts>) {}

  /** The state of its connection has changed, or the last connection that drained is closed. */
  changed(status: ConnectionStatus = RapStatus.Disconnected): void {
    this.#collected.set(status !== RapStatus.Disconnected || this.counts().connections > 0);
  }
}

/** What metrics tell of a client. */
function numbersOf({ endpoints = [], ...counts }: CallCounts & Partial<FleetCounts>): RapClientNumbers {
  return { ...counts, endpoints: endpoints.map(({ state }) => state) };
}

function endpointStatsOf({ ejectedForMs, ...counts }: EndpointCounts): EndpointStats {
  const ejectedUntil = ejectedForMs === undefined ? undefined : Math.round(Date.now() + ejectedForMs);
  return { ...counts, ejectedUntil };
}
