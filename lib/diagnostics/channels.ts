import { channel, tracingChannel, type Channel, type TracingChannel } from 'node:diagnostics_channel';
import type {
  RapClientCall,
  RapClientChannel,
  RapCollection,
  RapConnectionChange,
  RapEjection,
  RapEndpointChange,
  RapFurtherAttempt,
  RapPeerInfo,
  RapRefusal,
  RapRefusalReason,
  RapServerCall,
  RapServerChannel,
} from './messages.js';

// The one seam of everything that observes rap: tracing, metrics and the rest subscribe to these channels of Node. Nothing is
// made or published unless there is a subscriber. `docs/observability.md` describes them for users.

/** Events of a tracing channel, by their message. */
type Tracing<T extends object> = TracingChannel<unknown, T>;

/** A call or event of a client, from its start to its outcome; an answer that is a stream belongs to it. */
export const clientCall: Tracing<RapClientCall> = tracingChannel('rap.client.call');
/** A stream or channel that a client opens, for its whole life. */
export const clientChannel: Tracing<RapClientChannel> = tracingChannel('rap.client.channel');
/** A call or event that a server has got, from the search of its handler to its outcome. */
export const serverCall: Tracing<RapServerCall> = tracingChannel('rap.server.call');
/** A stream or channel that a client has opened at a server, for its whole life. */
export const serverChannel: Tracing<RapServerChannel> = tracingChannel('rap.server.channel');
/** An attempt beyond the first at a call, event or opening: a retry, or a hedge. */
export const clientAttempt: Tracing<RapFurtherAttempt> = tracingChannel('rap.client.attempt');

/** An attempt beyond the first begins. */
export const clientRetry = plain<RapFurtherAttempt>('rap.client.retry');
/** A connection of a client is open, or closed. */
export const clientConnection = plain<RapConnectionChange>('rap.client.connection');
/** A connection of a server is open, or closed. */
export const serverConnection = plain<RapConnectionChange>('rap.server.connection');
/** One of several servers of a client has changed its state. */
export const clientEndpoint = plain<RapEndpointChange>('rap.client.endpoint');
/** One of several servers of a client is ejected. */
export const clientEjection = plain<RapEjection>('rap.client.ejection');
/** A server has refused a call, channel or connection before any handler began. */
export const serverRefusal = plain<RapRefusal>('rap.server.refusal');
/** Whether anybody listens to calls of a client. What may be repeated is also seen by those who listen to further attempts. */
export function isObserved(tracing: { readonly hasSubscribers: boolean }, mayRepeat: boolean): boolean {
  return (
    tracing.hasSubscribers || (mayRepeat && (clientAttempt.hasSubscribers || clientRetry.hasSubscribers))
  );
}

/** Tells that a connection is open, or, with a reason, closed. */
export function tellConnection(
  changes: PlainChannel<RapConnectionChange>,
  connection: RapPeerInfo,
  reason?: Error,
): void {
  if (changes.hasSubscribers) changes.publish({ state: reason ? 'closed' : 'open', connection, reason });
}

/** Tells that one of several servers has changed its state. */
export function tellEndpoint(change: RapEndpointChange): void {
  if (clientEndpoint.hasSubscribers) clientEndpoint.publish(change);
  const { address, state, reason } = change;
  if (state === 'ejected' && clientEjection.hasSubscribers) clientEjection.publish({ address, reason });
}

/** Tells that a server has refused something. */
export function tellRefusal(what: RapRefusal['what'], reason: RapRefusalReason): void {
  if (serverRefusal.hasSubscribers) serverRefusal.publish({ what, reason });
}

/** Asks every server that listens and every client in use for what it has now. */
export const collection = plain<RapCollection>('rap.collect');

/** A channel whose messages have this type. */
export interface PlainChannel<T extends object> extends Omit<Channel, 'publish'> {
  publish(message: T): void;
}

function plain<T extends object>(name: string): PlainChannel<T> {
  return channel(name);
}
