import { EventTarget } from '../protocol/event.js';
import { type Frame, MsgType } from '../protocol/frame.js';
import type { LinkReceiver } from '../protocol/link.js';

type OnFrame = Parameters<LinkReceiver['onFrame']>;

interface HeldCall {
  readonly receiver: LinkReceiver;
  /** Its call, and what followed: messages of a channel, a cancel. */
  readonly frames: OnFrame[];
}

/** Passes calls and channels on to a server in another order: holds some of them, then delivers the last one first. */
export class CallOrder {
  #toHold = 0;
  #held: HeldCall[] = [];

  /** Holds this many calls, then delivers them. */
  hold(calls: number): void {
    this.#toHold = calls;
  }

  /** Delivers what is held now, and holds nothing more. */
  release(): void {
    this.#toHold = 0;
    for (const { receiver, frames } of this.#held.splice(0).toReversed())
      for (const frame of frames) receiver.onFrame(...frame);
  }

  /** Stands between a connection and its receiver. */
  readonly intercept = (receiver: LinkReceiver): LinkReceiver => ({
    onFrame: (...frame) => {
      if (!this.#hold(receiver, frame)) receiver.onFrame(...frame);
    },
    onBytes: () => receiver.onBytes(),
    onDrain: () => receiver.onDrain(),
    onFault: (fault) => receiver.onFault(fault),
    onClose: (error) => {
      this.#held = this.#held.filter((call) => call.receiver !== receiver);
      receiver.onClose(error);
    },
  });

  #hold(receiver: LinkReceiver, frame: OnFrame): boolean {
    if (this.#toHold === 0) return false;
    const id = idOf(frame[0]);
    const known = this.#held.find((call) => call.receiver === receiver && call.frames[0]?.[0][1] === id);
    if (known) known.frames.push(frame);
    else if (startsWork(frame[0])) this.#held.push({ receiver, frames: [frame] });
    else return false;
    if (this.#held.length >= this.#toHold) this.release();
    return true;
  }
}

/** A call, an event, or the first frame of a channel. */
function startsWork([type, , { target }]: Frame): boolean {
  return (type === MsgType.Msg || type === MsgType.Channel) && typeof target === 'string';
}

/** The call that a frame belongs to. */
function idOf([type, id, { target }, body]: Frame): unknown {
  const isCancel = type === MsgType.ClientEvent && target === EventTarget.Cancel;
  return isCancel ? (body as { id?: unknown } | null)?.id : id;
}
