import type { Clock } from '../../protocol/clock.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { Channel } from '../channel/channel.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import type { Sessions } from './sessions.js';

/** A call or channel, as its host knows it. */
export interface Hosted {
  readonly id: number;
  /** When it came, in milliseconds of the clock. */
  readonly startedAt: number;
}

/** What a call or channel that came in may ask for. */
export interface IncomingHost {
  readonly connection: ConnectionHandle;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly sessions: Sessions;
  /** When the frame came that is worked on now, in milliseconds of the clock. */
  readonly frameAt: number;
  readonly isDraining: boolean;
  /** Sends the answer of a call; one that cannot be encoded becomes an error. */
  answer(call: Hosted, header: Header | null, body: unknown): void;
  /** Sends the error of a call, with more entries in its header. */
  answerError(call: Hosted, fault: Fault, name: string, more?: Header | null): void;
  /** A channel under the id of a call; `undefined` if the peer does not know such answers. */
  turnIntoStream(call: Hosted): Channel | undefined;
  /** Gives a channel its slot of the server. False if there is none. */
  takeSlot(channel: Hosted): boolean;
  /** Says that a channel is open. */
  accept(channel: Hosted): void;
  /** It is over for the peer. `wasted`: given up by the peer before it got anything. */
  settled(incoming: Hosted, wasted: boolean): void;
  /** Its handler has ended. */
  ended(incoming: Hosted): void;
}
