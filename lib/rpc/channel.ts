import { EncodedHeader } from '../protocol/encoded-frame.js';
import { Fault, LocalCode } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../protocol/life-cycle.js';
import { Status } from '../protocol/status.js';
import { toErrorFrame } from '../protocol/wire-error.js';
import { CHANNEL_TABLE, type ChannelEvent, type ChannelRefusal, type ChannelState } from './channel-state.js';
import { type ChannelMessage, MessageQueue } from './message-queue.js';
import type { MessageView, NamedFault } from './message-view.js';
import { ChannelProcessing, type DeclareOutcome } from './channel-processing.js';
import type { Exchange } from './processors.js';

/** Writes that may wait for room. A writer that never awaits learns of it, instead of filling memory. */
const MAX_WAITING_WRITES = 1024;

/** Messages that wait for a reader, where the peer knows no credits: then the whole connection is not read. */
const MAX_QUEUED_MESSAGES = 128;

/** More credit than any window makes sense of: the peer's counting is broken. */
const MAX_CREDIT = 2 ** 32;

/** What a channel may do to its connection: functions, not the connection itself. */
export interface ChannelHost {
  /** Sends a frame of the channel and returns its size. Throws a Fault where it cannot be encoded. */
  send(header: Header | EncodedHeader, body: unknown): number;
  /** Whether the connection takes more; where not, `flushWrites` is called when it does. */
  hasRoom(): boolean;
  /** Stops and restarts the reading of the connection. */
  pauseReading(): void;
  resumeReading(): void;
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
  readonly halfClose: boolean;
  readonly fastOpen: boolean;
  /** Its way through the processors, where there are any. */
  readonly exchange?: Exchange | undefined;
}

/** A write that waits for room. */
interface WaitingWrite {
  readonly header: Header | undefined;
  readonly body: unknown;
  resolve(): void;
  reject(fault: Fault): void;
}

/** A read that waits for a message. */
export interface WaitingRead {
  resolve(message: ChannelMessage | undefined): void;
  reject(fault: Fault): void;
}

/**
 * A duplex channel, as either side. Messages that came before the end can be read after it; writes wait until the peer
 * has room.
 */
export class Channel {
  readonly id: number;
  metadata: unknown;

  readonly #host: ChannelHost;
  readonly #receiveWindow: number;
  readonly #creditsAgreed: boolean;
  readonly #halfClose: boolean;
  readonly #fastOpen: boolean;
  #state: ChannelState;
  /** Bytes that this side may still send; may go below zero by one message. */
  #credit: number;
  /** Bytes that were read and not given back yet. */
  #unreturned = 0;
  /** Bytes that the peer has sent on its window and that were not given back. */
  #outstanding = 0;
  readonly #queue = new MessageQueue();
  #readers: WaitingRead[] = [];
  #writes: WaitingWrite[] = [];
  #ending: { resolve(): void; reject(fault: Fault): void } | undefined;
  #readingPaused = false;
  #over = false;
  /** Why it ended; `undefined` for an end in order. */
  #fault: Fault | undefined;
  #controller: AbortController | undefined;
  #onClosed: (() => void)[] = [];
  /** Its messages on their way through the processors, where there are any. */
  #processing: ChannelProcessing | undefined;
  /** The peer has not got DECLARE yet. */
  #undeclared = false;
  /** This side ends the channel as soon as its last message has left the processors. */
  #closing: { readonly error: NamedFault | undefined } | undefined;
  /** The peer has ended the channel with an error, which the processors work on. */
  #isFailing = false;
  /** What the processors are told that it ended with. */
  #outcome: Fault | undefined;

  constructor(options: ChannelOptions) {
    this.id = options.id;
    this.metadata = options.metadata;
    this.#host = options.host;
    this.#receiveWindow = options.receiveWindow;
    this.#creditsAgreed = options.sendWindow !== undefined;
    this.#credit = options.sendWindow ?? Infinity;
    this.#halfClose = options.halfClose;
    this.#fastOpen = options.fastOpen;
    this.#state = options.state;
    if (options.exchange) this.#processing = this.#processWith(options.exchange);
  }

  get state(): ChannelState {
    return this.#state;
  }

  /** Whether this side has sent a message, or the end of its messages. */
  wroteAny = false;
  /** Whether the peer ended it: by DROP, by an error, or with its connection. */
  closedByPeer = false;

  /** Whether the answer to DECLARE has not come. */
  get isDeclaring(): boolean {
    return this.#state === 'declaring' || this.#state === 'endedEarly';
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Whether it is over, or this side has ended it and its last message is still with the processors. */
  get isEnding(): boolean {
    return this.isClosed || this.#closing !== undefined;
  }

  /** Why the channel ended, where that was an error. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** Whether a read would give a message, or wait for one that may come. */
  get readable(): boolean {
    return this.#queue.length > 0 || !this.#nothingComes();
  }

  /** Aborted when the channel is over. Made on first use. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.isClosed) this.#controller.abort(this.#fault);
    return this.#controller.signal;
  }

  /** Calls back once when the channel is over, or at once where it is. */
  whenClosed(callback: () => void): void {
    if (this.isClosed) callback();
    else this.#onClosed.push(callback);
  }

  // --- reading ------------------------------------------------------------------------------------------------

  /** A message that is there already. */
  poll(): ChannelMessage | undefined {
    const message = this.#queue.shift();
    if (message) this.#consumed(message.bytes);
    return message;
  }

  /** The next message; `undefined` after the last one. Rejects with the fault that ended the channel, if one did. */
  read(): Promise<ChannelMessage | undefined> {
    const message = this.poll();
    if (message) return Promise.resolve(message);
    if (this.#nothingComes()) return this.#fault ? Promise.reject(this.#fault) : Promise.resolve(undefined);
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  /** As `read`, for whoever may lose interest: the function that it returns gives the place in the line away. */
  readInto(reader: WaitingRead): () => void {
    const message = this.poll();
    if (message) reader.resolve(message);
    else if (!this.#nothingComes()) this.#readers.push(reader);
    else if (this.#fault) reader.reject(this.#fault);
    else reader.resolve(undefined);
    return () => {
      this.#readers = this.#readers.filter((other) => other !== reader);
    };
  }

  // --- writing ------------------------------------------------------------------------------------------------

  /** Sends at once where there is room; false where there is none, and then nothing was sent. Throws as `write`. */
  tryWrite(body: unknown, header?: Header): boolean {
    this.#assertStep('msg');
    if (this.#writes.length > 0 || !this.#hasRoom()) return false;
    // one that fails in the processors ends the channel
    this.#sendMessage(body, header)?.catch(() => {});
    return true;
  }

  /**
   * Sends a message as soon as the peer has room for it.
   *
   * @throws {@link Fault} 10081 after `end` or `close`, the fault that ended the channel, or that of a body that cannot
   * be encoded; `ERR_RAP_OVERLOAD` where 1024 writes wait already.
   */
  write(body: unknown, header?: Header): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#assertStep('msg');
      if (this.#writes.length === 0 && this.#hasRoom()) resolve(this.#sendMessage(body, header));
      else if (this.#writes.length >= MAX_WAITING_WRITES) throw tooManyWrites();
      else this.#writes.push({ body, header, resolve, reject });
    });
  }

  /** Says that this side writes no more, after all writes that wait. @throws {@link Fault} where the peer does not know it. */
  end(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#assertStep('end');
      if (!this.#halfClose) {
        throw new Fault({
          status: Status.ChannelLifeCycle,
          message: 'the peer does not know half-closed channels: use close()',
        });
      }
      this.#ending = { resolve, reject };
      this.#flushEnd();
    });
  }

  /** Ends the channel both ways, at once; the peer learns of the fault. May be called twice. */
  close(fault?: Fault, name = 'RapError'): void {
    if (this.isClosed || this.#closing) return;
    if (this.#processing && !this.#undeclared) {
      const error = fault && { fault, name };
      // what was written before goes first
      if (this.#processing.isSending) this.#closing = { error };
      else this.#closeProcessed(error);
      return;
    }
    this.#sendDrop(fault, name);
    this.#queue.clear();
    this.#finish(undefined, false);
  }

  /** Ends the channel because this side wants no more of it: the peer gets DROP, this side the fault. */
  cancel(fault: Fault): void {
    if (this.isClosed) return;
    this.#sendDrop(undefined, '');
    this.#queue.clear();
    this.#finish(fault, false);
  }

  /** The peer did what it may not: both sides get the fault. */
  violated(fault: Fault): void {
    if (this.isClosed) return;
    this.#sendDrop(fault, 'ChannelError');
    this.#finish(fault, false);
  }

  /** The connection has room again. Returns whether writes still wait for it. */
  flushOne(): boolean {
    const write = this.#writes[0];
    if (write && this.#hasRoom()) {
      this.#writes.shift();
      try {
        const pending = this.#sendMessage(write.body, write.header);
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
    return this.#writes.length > 0 && this.#mayWrite() && this.#credit > 0 && !this.#processing?.isSending;
  }

  // --- frames of the peer -------------------------------------------------------------------------------------

  /** Takes a frame of the peer. Returns what is wrong with it, or `undefined`; a wrong frame changes nothing. */
  receive(lifeCycle: unknown, header: Header, body: unknown, bytes: number): string | undefined {
    if (this.#isFailing) return undefined; // late frames of an end that is known
    switch (lifeCycle) {
      case LifeCycle.Msg: // [102, id, {channel_life_cycle: MSG}, body]
        return this.#step('peerMsg') ?? this.#onMessage(header, body, bytes);
      case LifeCycle.Credit: // [102, id, {channel_life_cycle: CREDIT}, bytes]
        return this.#step('peerCredit') ?? this.#onCredit(body);
      case LifeCycle.Declare: // [102, id, {channel_life_cycle: DECLARE}, nil], the answer
        return this.#step('peerDeclare') ?? this.#onDeclared(header, body, bytes);
      case LifeCycle.End: // [102, id, {channel_life_cycle: END}, nil]
        return this.#step('peerEnd') ?? this.#onEnd();
      case LifeCycle.Drop: // [102, id, {channel_life_cycle: DROP}, nil or error]
        this.peerGone(undefined);
        return undefined;
      default:
        return 'unknown life cycle';
    }
  }

  /** The peer has ended the channel, or is gone. What came before can still be read. */
  peerGone(fault: Fault | undefined): void {
    if (!this.isClosed) this.#finish(fault, true);
  }

  /** The connection is gone, and with it what the processors still work on. */
  lost(fault: Fault): void {
    this.#processing?.stop();
    this.peerGone(fault);
  }

  /** The peer has ended the channel with an error. On a client, processors see it as the last message. */
  peerFailed(fault: Fault, header: Header, body: unknown, bytes: number): void {
    const processing = this.#processing;
    if (this.isClosed || this.#isFailing) return;
    if (!processing?.isOfClient) return this.peerGone(fault);
    const view = processing.message(LifeCycle.Drop, header, body, bytes);
    view.fail({ fault, name: 'RapError' });
    this.#isFailing = true;
    processing.receive(view, (last) => this.peerGone(last));
  }

  #onMessage(header: Header, body: unknown, bytes: number): string | undefined {
    this.#outstanding += bytes;
    if (this.#creditsAgreed && this.#outstanding - bytes >= this.#receiveWindow)
      return 'more bytes than it had credit for';
    if (this.#processing) {
      const view = this.#processing.message(LifeCycle.Msg, header, body, bytes);
      this.#processing.receive(view, () =>
        this.#deliver({ header: view.outcome as Header, body: view.body, bytes }),
      );
      this.#pauseIfFull();
    } else this.#deliver({ header, body, bytes });
    return undefined;
  }

  #deliver(message: ChannelMessage): void {
    const reader = this.#readers.shift();
    if (reader) {
      reader.resolve(message);
      this.#consumed(message.bytes);
      return;
    }
    this.#queue.push(message);
    this.#pauseIfFull();
  }

  #pauseIfFull(): void {
    if (this.#creditsAgreed || this.#readingPaused || this.#over || !this.#isFull()) return;
    this.#readingPaused = true;
    this.#host.pauseReading();
  }

  #onDeclared(header: Header, body: unknown, bytes: number): undefined {
    if (!this.#processing) {
      this.#flushAll();
      return;
    }
    const view = this.#processing.message(LifeCycle.Declare, header, body, bytes);
    this.#processing.receive(view, () => this.#flushAll());
  }

  #onCredit(credit: unknown): string | undefined {
    if (!this.#creditsAgreed) return 'credits were not agreed';
    if (typeof credit !== 'number' || !Number.isInteger(credit) || credit <= 0)
      return 'credit must be a positive integer';
    if (this.#credit + credit > MAX_CREDIT) return 'too much credit';
    this.#credit += credit;
    return this.#flushAll();
  }

  #onEnd(): undefined {
    if (this.isClosed) {
      // both sides have ended; the peer may not know that yet, and say DROP as well
      this.#state = 'ended';
      this.#finish(undefined, true, false);
      return;
    }
    if (this.#nothingComes()) this.#settleReaders();
  }

  /** Gives credit back in halves of the window, not message by message. */
  #consumed(bytes: number): void {
    if (this.#creditsAgreed) {
      this.#unreturned += bytes;
      if (this.#unreturned * 2 < this.#receiveWindow || this.#peerIsDone()) return;
      this.#outstanding -= this.#unreturned;
      this.#host.send(LIFE_CYCLE_HEADER.CREDIT, this.#unreturned);
      this.#unreturned = 0;
    } else if (this.#readingPaused && this.#queue.length * 2 <= MAX_QUEUED_MESSAGES) this.#resumeReading();
  }

  // --- inside -------------------------------------------------------------------------------------------------

  #peerIsDone(): boolean {
    return this.#state === 'closed' || this.#state === 'peerEnded';
  }

  /** Whether the reader has got everything that there will be. */
  #nothingComes(): boolean {
    return this.#peerIsDone() && !this.#processing?.isReceiving;
  }

  #isFull(): boolean {
    const { count = 0, bytes = 0 } = this.#processing ?? {};
    return (
      this.#queue.length + count >= MAX_QUEUED_MESSAGES || this.#queue.bytes + bytes >= this.#receiveWindow
    );
  }

  /** Whether the state lets messages out; before DECLARE was answered only with `fast_open`. */
  #mayWrite(): boolean {
    return this.#state !== 'declaring' || this.#fastOpen;
  }

  #hasRoom(): boolean {
    return this.#credit > 0 && this.#mayWrite() && !this.#processing?.isSending && this.#host.hasRoom();
  }

  /** A promise where processors take their time. */
  #sendMessage(body: unknown, header: Header | undefined): void | Promise<void> {
    if (this.#processing) {
      const view = this.#processing.message(LifeCycle.Msg, header ?? null, body);
      return this.#processing.send(view, () =>
        this.#put(view.body, view.isTouched || header ? (view.outcome as Header) : undefined),
      );
    }
    this.#put(body, header);
  }

  #put(body: unknown, header: Header | undefined): void {
    const frameHeader = header ? { ...header, channel_life_cycle: LifeCycle.Msg } : LIFE_CYCLE_HEADER.MSG;
    this.#credit -= this.#host.send(frameHeader, body);
    this.wroteAny = true;
  }

  /** The last frame of the channel: the fault with it where there is one that the connection can carry. */
  #sendDrop(fault: Fault | undefined, name: string): void {
    if (this.#undeclared) return; // the peer knows of nothing
    try {
      if (fault) {
        const { header, body } = toErrorFrame(fault, name);
        this.#host.send({ channel_life_cycle: LifeCycle.Drop, ...header }, body);
        return;
      }
    } catch {
      // limits that are too small for a fault are large enough for its absence
    }
    this.#host.send(LIFE_CYCLE_HEADER.DROP, null);
  }

  #flushAll(): undefined {
    while (this.#writes.length > 0 && this.#hasRoom()) this.flushOne();
    this.#flushEnd();
  }

  #flushEnd(): void {
    const ending = this.#ending;
    if (!ending || this.#writes.length > 0 || !this.#mayWrite() || this.isClosed) return;
    if (this.#processing?.isSending) return;
    this.#ending = undefined;
    this.#host.send(LIFE_CYCLE_HEADER.END, null);
    this.wroteAny = true;
    ending.resolve();
    if (this.isClosed) return; // the frame was one too many for the connection
    this.#step('end');
    if (this.isClosed) this.#finish(undefined, false);
  }

  /** Takes a step of the table; says why where it is refused. */
  #step(event: ChannelEvent): ChannelRefusal | undefined {
    const step = CHANNEL_TABLE[this.#state][event];
    if ('refused' in step) return step.refused;
    this.#state = step.to;
    return undefined;
  }

  #assertStep(event: 'msg' | 'end'): void {
    const step = CHANNEL_TABLE[this.#state][event];
    if (this.#ending || this.#closing) throw lifeCycleFault('this side has ended');
    if ('refused' in step) throw this.#fault ?? lifeCycleFault(step.refused);
  }

  #resumeReading(): void {
    this.#readingPaused = false;
    this.#host.resumeReading();
  }

  #finish(fault: Fault | undefined, byPeer: boolean, peerKnows = byPeer): void {
    // the last frame of the channel may be what ends the connection, and with it the channel
    if (this.#over) return;
    this.#over = true;
    this.#state = 'closed';
    this.#fault = fault;
    this.closedByPeer = byPeer;
    if (this.#readingPaused) this.#resumeReading();
    const refusal = fault ?? lifeCycleFault('the channel is closed');
    for (const write of this.#writes.splice(0)) write.reject(refusal);
    this.#ending?.reject(refusal);
    this.#ending = undefined;
    this.#outcome ??= fault;
    // what the peer said before its end is read first
    if (!byPeer) this.#processing?.stop();
    if (this.#nothingComes()) this.#settleReaders();
    this.#controller?.abort(fault);
    this.#host.released(peerKnows);
    for (const callback of this.#onClosed.splice(0)) callback();
    if (!this.#processing?.isReceiving) this.#processing?.exchange.exit(this.#outcome);
  }

  #settleReaders(): void {
    for (const reader of this.#readers.splice(0)) {
      if (this.#fault) reader.reject(this.#fault);
      else reader.resolve(undefined);
    }
  }

  // --- processors ---------------------------------------------------------------------------------------------

  /** Sends DECLARE, or the answer to it, once the processors have seen it. What follows waits. @throws what they throw */
  open(declare: MessageView, send: (declare: MessageView) => void): void {
    if (this.isClosed || !this.#processing) return;
    this.#undeclared = this.isDeclaring;
    const put = (): void => {
      send(declare);
      this.#undeclared = false;
    };
    try {
      // one that fails later ends the channel, which its owner sees
      this.#processing.send(declare, put, this.#undeclared)?.catch((error: Fault) => this.#endWith(error));
    } catch (error) {
      this.#endWith(error as Fault);
      throw error;
    }
  }

  /** The peer's DECLARE goes through the processors; what follows it waits. */
  opened(exchange: Exchange, declare: MessageView, then: DeclareOutcome): void {
    this.#processing = this.#processWith(exchange);
    this.#processing.declared(declare, then);
  }

  #processWith(exchange: Exchange): ChannelProcessing {
    return new ChannelProcessing(exchange, {
      onIdle: () => {
        if (this.#nothingComes()) this.#settleReaders();
        if (this.#over) exchange.exit(this.#outcome);
      },
      onSent: () => {
        this.#flushAll();
        if (this.#closing && !this.#processing?.isSending) this.#closeProcessed(this.#closing.error);
      },
      failed: (error, isSeen) => {
        if (!isSeen) this.#closeProcessed(error, error.fault);
        else this.#endWith(error.fault, error.name);
        return error.fault;
      },
      refusal: () => (this.#over ? (this.#fault ?? lifeCycleFault('the channel is closed')) : undefined),
    });
  }

  /** Ends the channel once the processors have seen the error that ends it, if one does. `own`: what this side gets. */
  #closeProcessed(error: NamedFault | undefined, own?: Fault): void {
    if (this.#over) return this.#failLate(own);
    this.#closing = { error };
    const end = (last: NamedFault | undefined): void => {
      if (this.#over) return;
      this.#sendDrop(last?.fault, last?.name ?? '');
      if (!own) this.#queue.clear();
      this.#outcome = last?.fault;
      this.#finish(own, false);
    };
    if (error) this.#processing?.last(error, end);
    else end(undefined);
  }

  /** Ends the channel with an error that both sides get, and the processors have seen. */
  #endWith(fault: Fault, name = 'RapError'): void {
    if (this.#over) return this.#failLate(fault);
    this.#sendDrop(fault, name);
    this.#finish(fault, false);
  }

  /** A message failed that came before the peer's own end: whoever reads gets the fault instead of the rest. */
  #failLate(fault: Fault | undefined): void {
    if (!this.closedByPeer || !fault) return;
    this.#processing?.stop();
    this.#fault ??= fault;
    this.#settleReaders();
    this.#processing?.exchange.exit(fault);
  }
}

function lifeCycleFault(message: string): Fault {
  return new Fault({ status: Status.ChannelLifeCycle, message });
}

function tooManyWrites(): Fault {
  return new Fault({
    status: Status.TooManyRequests,
    code: LocalCode.Overload,
    message: `Overload: ${MAX_WAITING_WRITES} writes wait for the peer; await write()`,
    sent: 'no',
  });
}
