import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import type { Header } from '../../protocol/frame.js';
import type { Exchange } from '../../pipeline/exchange.js';
import type { ReadingPause } from '../reading-pause.js';

/** What a channel may do to its connection: functions, not the connection itself. */
export interface ChannelHost {
  /** Sends a frame of the channel and returns its size. Throws a Fault where it cannot be encoded. */
  send(header: Header | EncodedHeader, body: unknown): number;
  /** A body as it is now, for a write that waits. Throws a Fault where it cannot be encoded. */
  hold(body: unknown): unknown;
  /** Whether the connection takes more; where not, `flushWrites` is called when it does. */
  hasRoom(): boolean;
  /** What is kept of the peer costs so much more, or less. */
  charge(cost: number): void;
  /** Stops the reading of the connection until the pause is ended. */
  pauseReading(): ReadingPause;
  /** The channel is over. Called once; where the peer does not know it yet, it may still send. */
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
  /** What the peer lets this side send ahead; `undefined` where it knows no credits. */
  readonly sendWindow: number | undefined;
  /** What a source that cannot be paused may have waiting, in encoded bytes. */
  readonly maxPushedBytes: number;
  readonly halfClose: boolean;
  readonly fastOpen: boolean;
  /** Its way through the processors, where there are any. */
  readonly exchange?: Exchange | undefined;
}
