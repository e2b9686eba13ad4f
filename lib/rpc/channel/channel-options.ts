import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import type { Header } from '../../protocol/frame.js';
import type { ReadingPause } from '../reading-pause.js';
import type { ChannelFlow } from './channel-flow.js';

/** What a channel may do to its connection: functions, not the connection itself. */
export interface ChannelHost {
  /** Sends a frame of the channel and returns its size. Throws a Fault if it cannot be encoded. */
  send(header: Header | EncodedHeader, body: unknown): number;
  /** A body as it is now, for a write that waits. Throws a Fault if it cannot be encoded. */
  hold(body: unknown): unknown;
  /** Whether the connection takes more; if not, `flushOne` is called when it does. */
  hasRoom(): boolean;
  /** Adds to what is kept of the peer; a negative cost takes off. */
  charge(cost: number): void;
  /** Stops the reading of the connection until the pause is ended. */
  pauseReading(): ReadingPause;
  /** The channel is over. Called once; if the peer does not know it yet, it may still send. */
  released(peerKnows: boolean): void;
}

export interface ChannelOptions {
  readonly id: number;
  readonly host: ChannelHost;
  /** `declaring` for a client that sends DECLARE, else `open`. */
  readonly state: 'declaring' | 'open';
  /** Body of DECLARE. */
  readonly metadata: unknown;
  /** What this side lets the peer send ahead, in bytes. */
  readonly receiveWindow: number;
  /** What the peer lets this side send ahead; `undefined` if it knows no credits. */
  readonly sendWindow: number | undefined;
  /** What a source that cannot be paused may have waiting, in encoded bytes. */
  readonly maxPushedBytes: number;
  readonly halfClose: boolean;
  readonly fastOpen: boolean;
  /** How its messages go, if not straight. */
  readonly flow?: ChannelFlow | undefined;
}
