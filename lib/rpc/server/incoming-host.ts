import type { Clock } from '../../protocol/clock.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { Channel } from '../channel/channel.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import type { Sessions } from './sessions.js';

/** A call or channel, as its host sees it. */
export interface Hosted {
  readonly id: number;
  /** Time of arrival, in milliseconds of the clock. */
  readonly startedAt: number;
}

/** What an incoming call or channel needs from its connection. */
export interface IncomingHost {
  readonly connection: ConnectionHandle;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly sessions: Sessions;
  /** Time of arrival of the current frame, in milliseconds of the clock. */
  readonly frameAt: number;
  readonly isDraining: boolean;
  /** Answers a call; an answer that cannot be encoded becomes an error. */
  answer(call: Hosted, header: Header | null, body: unknown): void;
  /** Answers a call with an error; `more` adds to its header. */
  answerError(call: Hosted, fault: Fault, name: string, more?: Header | null): void;
  /** A channel under the id of a call; `undefined` if the peer does not support that. */
  turnIntoStream(call: Hosted): Channel | undefined;
  /** Gives a channel a slot of the server. False if none is free. */
  takeSlot(channel: Hosted): boolean;
  /** Answers DECLARE. */
  accept(channel: Hosted): void;
  /** It has settled. `wasted`: cancelled by the peer before it got anything. */
  settled(incoming: Hosted, wasted: boolean): void;
  /** Its handler has ended. */
  ended(incoming: Hosted): void;
}
