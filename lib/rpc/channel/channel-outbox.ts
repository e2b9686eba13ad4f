import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { Fault, LocalCode } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { heldBytes } from '../../protocol/held-body.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../../protocol/life-cycle.js';
import { headerAsItIs } from '../../protocol/snapshot.js';
import { Status } from '../../protocol/status.js';

/** Writes that may wait for room. A writer that never awaits learns of it, instead of filling memory. */
const MAX_WAITING_WRITES = 1024;

/** Bytes that may wait with them. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** No window needs more credit: the peer counts wrongly. */
const MAX_CREDIT = 2 ** 32;

/** What the sending side asks of its channel. */
export interface OutboxOwner {
  /** @throws Fault if the state of the channel does not allow it */
  assertStep(step: 'msg' | 'end'): void;
  /** Whether the state lets frames out: before DECLARE was answered only with `fast_open`. */
  readonly mayWrite: boolean;
  readonly isClosed: boolean;
  /** Whether a message is on its way out; the others wait. */
  readonly isSending: boolean;
  /** Whether the connection takes more. */
  hasRoom(): boolean;
  /** Brings a message to `put`; a promise if that takes time. @throws (or rejects with) Fault */
  transmit(body: unknown, header: Header | undefined): void | Promise<void>;
  /** Sends a frame and returns its size. @throws Fault if it cannot be encoded */
  send(header: Header | EncodedHeader, body: unknown): number;
  /** A body as it is now, for a write that waits. @throws Fault if it cannot be encoded */
  hold(body: unknown): unknown;
  /** END has left. */
  ended(): void;
}

interface Settling {
  resolve(): void;
  reject(fault: Fault): void;
}

/** A write that waits for room. */
interface WaitingWrite extends Settling {
  readonly header: Header | undefined;
  readonly body: unknown;
}

/** The sending side of a channel: writes wait until the peer has given credit for them, and the connection has room. */
export class ChannelOutbox {
  /** Whether a message was sent, or the end of all messages. */
  wroteAny = false;
  readonly #writes: WaitingWrite[] = [];
  #waitingBytes = 0;
  /** END, which goes behind all writes that wait. */
  #ending: Settling | undefined;
  /** Bytes that may still be sent; may go below zero by one message. */
  #credit: number;

  constructor(
    /** What the peer lets this side send ahead; `undefined` if it knows no credits. */
    window: number | undefined,
    private readonly owner: OutboxOwner,
  ) {
    this.#credit = window ?? Infinity;
  }

  /** Whether END waits for its turn. */
  get isEnding(): boolean {
    return this.#ending !== undefined;
  }

  /** Sends at once if there is room; false if there is none, and then nothing was sent. Throws as `write`. */
  tryWrite(body: unknown, header: Header | undefined): boolean {
    this.owner.assertStep('msg');
    if (this.#writes.length > 0 || !this.#hasRoom()) return false;
    // one that fails later ends the channel
    this.owner.transmit(body, header)?.catch(() => {});
    return true;
  }

  /** Sends a message as soon as there is room for it. */
  write(body: unknown, header: Header | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      this.owner.assertStep('msg');
      if (this.#writes.length === 0 && this.#hasRoom()) resolve(this.owner.transmit(body, header));
      else this.#wait(body, { header, resolve, reject });
    });
  }

  /** What waits is sent as it was when it was written. */
  #wait(body: unknown, write: Omit<WaitingWrite, 'body'>): void {
    if (this.#writes.length >= MAX_WAITING_WRITES) throw tooMuchWaits(`${MAX_WAITING_WRITES} writes`);
    if (this.#waitingBytes > MAX_WAITING_BYTES) throw tooMuchWaits(`${this.#waitingBytes} bytes`);
    const held = this.owner.hold(body);
    this.#waitingBytes += heldBytes(held);
    this.#writes.push({ ...write, header: write.header && headerAsItIs(write.header), body: held });
  }

  /** Says that this side writes no more, after all writes that wait. */
  end(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.owner.assertStep('end');
      this.#ending = { resolve, reject };
      this.#flushEnd();
    });
  }

  /** The peer gives credit. Returns what is wrong with it, or `undefined`. */
  grant(credit: unknown): string | undefined {
    if (this.#credit === Infinity) return 'credits were not agreed';
    if (typeof credit !== 'number' || !Number.isInteger(credit) || credit <= 0)
      return 'credit must be a positive integer';
    if (this.#credit + credit > MAX_CREDIT) return 'too much credit';
    this.#credit += credit;
    this.flush();
    return undefined;
  }

  /** Sends what waits, as far as there is room. */
  flush(): void {
    while (this.#writes.length > 0 && this.#hasRoom()) this.flushOne();
    this.#flushEnd();
  }

  /** Sends one write, because the connection has room again. Returns whether others still wait for that. */
  flushOne(): boolean {
    const write = this.#writes.length > 0 && this.#hasRoom() ? this.#writes.shift() : undefined;
    if (write) {
      this.#waitingBytes -= heldBytes(write.body);
      try {
        const pending = this.owner.transmit(write.body, write.header);
        if (pending)
          pending.then(
            () => write.resolve(),
            (fault: Fault) => write.reject(fault),
          );
        else write.resolve();
      } catch (error) {
        write.reject(error as Fault);
      }
    }
    this.#flushEnd();
    return this.#writes.length > 0 && this.#mayTransmit();
  }

  /** Nothing is sent any more. */
  fail(fault: Fault): void {
    this.#waitingBytes = 0;
    for (const write of this.#writes.splice(0)) write.reject(fault);
    this.#ending?.reject(fault);
    this.#ending = undefined;
  }

  /** Whether the channel lets a message out, even if its connection has no room. */
  #mayTransmit(): boolean {
    return this.#credit > 0 && this.owner.mayWrite && !this.owner.isSending;
  }

  #hasRoom(): boolean {
    return this.#mayTransmit() && this.owner.hasRoom();
  }

  /** Sends a message that has come out. @throws Fault if it cannot be encoded */
  put(body: unknown, header: Header | undefined): void {
    const frameHeader = header ? { ...header, channel_life_cycle: LifeCycle.Msg } : LIFE_CYCLE_HEADER.MSG;
    this.#credit -= this.owner.send(frameHeader, body);
    this.wroteAny = true;
  }

  #flushEnd(): void {
    const ending = this.#ending;
    if (!ending || this.#writes.length > 0 || !this.owner.mayWrite || this.owner.isClosed) return;
    if (this.owner.isSending) return;
    this.#ending = undefined;
    this.owner.send(LIFE_CYCLE_HEADER.END, null);
    this.wroteAny = true;
    ending.resolve();
    this.owner.ended();
  }
}

function tooMuchWaits(what: string): Fault {
  return new Fault({
    status: Status.TooManyRequests,
    code: LocalCode.Overload,
    message: `Overload: ${what} wait for the peer; await write()`,
    sent: 'no',
  });
}
