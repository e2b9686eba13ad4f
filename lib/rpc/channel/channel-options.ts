import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import type { Header } from '../../protocol/frame.js';
import type { ReadingPause } from '../reading-pause.js';
import type { ChannelFlow } from './channel-flow.js';

/** What a channel may do to its connection: functions, not the connection itself. */
export interface ChannelHost {
  /** Sends a frame of the channel and returns its size. Throws a Fault if it cannot be encoded. */
  send(header: Header | EncodedHeader, body: unknown): number;
  /** A snapshot of a body, for a write that waits. Throws a Fault if it cannot be encoded. */
  hold(body: unknown): unknown;
  /** Whether the connection accepts more; if not, `flushOne` is called when it does. */
  hasRoom(): boolean;
  /** Charges the connection's account; a negative cost releases. */
  charge(cost: number): void;
  /** Pauses reading of the connection until the pause is ended. */
  pauseReading(): ReadingPause;
  /** The channel is closed. Called once; a peer that does not know it yet may still send. */
  released(peerKnows: boolean): void;
}

export interface ChannelOptions {
  readonly id: number;
  readonly host: ChannelHost;
  /** `declaring` for a client that sends DECLARE, else `open`. */
  readonly state: 'declaring' | 'open';
  /** Body of DECLARE. */
  readonly metadata: unknown;
  /** Receive window, in bytes. */
  readonly receiveWindow: number;
  /** The peer's receive window; `undefined` if it does not support credits. */
  readonly sendWindow: number | undefined;
  /** Queue limit of a source without backpressure, in encoded bytes. */
  readonly maxPushedBytes: number;
  readonly halfClose: boolean;
  readonly fastOpen: boolean;
  /** The way of its messages. Default: directly to the wire. */
  readonly flow?: ChannelFlow | undefined;
}
