import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { Fault, LocalCode } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { heldBytes } from '../../protocol/held-body.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../../protocol/life-cycle.js';
import { headerAsItIs } from '../../protocol/snapshot.js';
import { Status } from '../../protocol/status.js';

/** Queue limit: a writer that never awaits gets an error, instead of filling memory. */
const MAX_WAITING_WRITES = 1024;

/** The same in bytes. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** No window needs more credit: beyond, the peer's accounting is wrong. */
const MAX_CREDIT = 2 ** 32;

/** What the sending side needs from its channel. */
export interface OutboxOwner {
  /** @throws Fault if the state of the channel does not allow it */
  assertStep(step: 'msg' | 'end'): void;
  /** Whether the state allows sending: before DECLARE is answered only with `fast_open`. */
  readonly mayWrite: boolean;
  readonly isClosed: boolean;
  /** Whether a message is in the flow; later ones wait. */
  readonly isSending: boolean;
  /** Whether the connection accepts more. */
  hasRoom(): boolean;
  /** Takes a message to `put`; returns a promise if that is asynchronous. @throws (or rejects with) Fault */
  transmit(body: unknown, header: Header | undefined): void | Promise<void>;
  /** Sends a frame and returns its size. @throws Fault if it cannot be encoded */
  send(header: Header | EncodedHeader, body: unknown): number;
  /** A snapshot of a body, for a write that waits. @throws Fault if it cannot be encoded */
  hold(body: unknown): unknown;
  /** END was sent. */
  ended(): void;
}

interface Settling {
  resolve(): void;
  reject(fault: Fault): void;
}

interface WaitingWrite extends Settling {
  readonly header: Header | undefined;
  readonly body: unknown;
}

/** The sending side of a channel: writes wait for credit, and for room on the connection. */
export class ChannelOutbox {
  /** Whether a message or END was sent. */
  wroteAny = false;
  /** Messages that were sent. */
  sentCount = 0;
  readonly #writes: WaitingWrite[] = [];
  #waitingBytes = 0;
  /** END, which is sent after all waiting writes. */
  #ending: Settling | undefined;
  /** Bytes that may still be sent; one message may take it below zero. */
  #credit: number;
  /** Header keys for the next message. */
  #added: Header | undefined;

  constructor(
    /** The peer's receive window; `undefined` if it does not support credits. */
    window: number | undefined,
    private readonly owner: OutboxOwner,
  ) {
    this.#credit = window ?? Infinity;
  }

  /** Whether END waits to be sent. */
  get isEnding(): boolean {
    return this.#ending !== undefined;
  }

  /** Whether a write, or END, waits to be sent. */
  get isWaiting(): boolean {
    return this.#writes.length > 0 || this.isEnding;
  }

  /** Whether writes wait for credit of the peer. */
  get needsCredit(): boolean {
    return this.#writes.length > 0 && this.#credit <= 0;
  }

  /** Adds to the header of the next message, or of the end. */
  addHeader(header: Header): void {
    this.#added = { ...this.#added, ...header };
  }

  /** The header of a message, with what was added; a message's own keys take precedence. */
  takeAdded(header: Header | undefined): Header | undefined {
    const added = this.#added;
    if (!added) return header;
    this.#added = undefined;
    return header ? { ...added, ...header } : added;
  }

  /** Sends at once if there is room; else returns false and sends nothing. Throws as `write`. */
  tryWrite(body: unknown, header: Header | undefined): boolean {
    this.owner.assertStep('msg');
    if (this.#writes.length > 0 || !this.#hasRoom()) return false;
    // a later failure closes the channel
    this.owner.transmit(body, this.takeAdded(header))?.catch(() => {});
    return true;
  }

  /** Sends a message as soon as there is room. */
  write(body: unknown, header: Header | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      this.owner.assertStep('msg');
      if (this.#writes.length === 0 && this.#hasRoom())
        resolve(this.owner.transmit(body, this.takeAdded(header)));
      else this.#wait(body, { header: this.takeAdded(header), resolve, reject });
    });
  }

  /** Queues a snapshot: later changes to the body are not sent. */
  #wait(body: unknown, write: Omit<WaitingWrite, 'body'>): void {
    if (this.#writes.length >= MAX_WAITING_WRITES) throw tooMuchWaits(`${MAX_WAITING_WRITES} writes`);
    if (this.#waitingBytes > MAX_WAITING_BYTES) throw tooMuchWaits(`${this.#waitingBytes} bytes`);
    const held = this.owner.hold(body);
    this.#waitingBytes += heldBytes(held);
    this.#writes.push({ ...write, header: write.header && headerAsItIs(write.header), body: held });
  }

  /** Half-closes the channel after all waiting writes. */
  end(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.owner.assertStep('end');
      this.#ending = { resolve, reject };
      this.#flushEnd();
    });
  }

  /** CREDIT was received. Returns what is wrong with it, or `undefined`. */
  grant(credit: unknown): string | undefined {
    if (this.#credit === Infinity) return 'credits were not agreed';
    if (typeof credit !== 'number' || !Number.isInteger(credit) || credit <= 0)
      return 'credit must be a positive integer';
    if (this.#credit + credit > MAX_CREDIT) return 'too much credit';
    this.#credit += credit;
    this.flush();
    return undefined;
  }

  /** Sends waiting writes while there is room. */
  flush(): void {
    while (this.#writes.length > 0 && this.#hasRoom()) this.flushOne();
    this.#flushEnd();
  }

  /** Sends one write, since the connection has room again. Returns whether others wait for room. */
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

  /** Fails waiting writes. */
  fail(fault: Fault): void {
    this.#waitingBytes = 0;
    for (const write of this.#writes.splice(0)) write.reject(fault);
    this.#ending?.reject(fault);
    this.#ending = undefined;
  }

  /** Whether the channel allows a message, apart from room on the connection. */
  #mayTransmit(): boolean {
    return this.#credit > 0 && this.owner.mayWrite && !this.owner.isSending;
  }

  #hasRoom(): boolean {
    return this.#mayTransmit() && this.owner.hasRoom();
  }

  /** Sends a message that has passed the flow. @throws Fault if it cannot be encoded */
  put(body: unknown, header: Header | undefined): void {
    const frameHeader = header ? { ...header, channel_life_cycle: LifeCycle.Msg } : LIFE_CYCLE_HEADER.MSG;
    this.#credit -= this.owner.send(frameHeader, body);
    this.wroteAny = true;
    this.sentCount += 1;
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
