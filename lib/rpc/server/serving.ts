/* oxlint-disable typescript/unbound-method -- a function that runs in a context is called on its object */
import { tellRefusal } from '../../diagnostics/channels.js';
import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import type { Clock } from '../../protocol/clock.js';
import { CloseReason } from '../../protocol/event.js';
import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { type Frame, MsgType, type Header } from '../../protocol/frame.js';
import { LifeCycle } from '../../protocol/life-cycle.js';
import type { Link } from '../../protocol/link.js';
import { isErrorStatus } from '../../protocol/status.js';
import { toErrorFrame } from '../../protocol/wire-error.js';
import type { Channel } from '../channel/channel.js';
import type { ChannelTable } from '../channel/channel-table.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import type { CleanContext } from '../context/async-context.js';
import type { RapLimits } from '../limits.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import type { AnyIncoming } from './any-incoming.js';
import { EventReceipts } from './event-receipts.js';
import { type Incoming, shutsDown, tooMany } from './incoming.js';
import { IncomingCall } from './incoming-call.js';
import { IncomingChannel } from './incoming-channel.js';
import type { IncomingHost } from './incoming-host.js';
import type { IncomingTable } from './incoming-table.js';
import type { Sessions } from './sessions.js';
import type { SlowReaderGuard } from './slow-reader-guard.js';
import { WaitingAnswers } from './waiting-answers.js';

/** Handles incoming calls and channels. */
export interface CallOwner {
  /** Starts the time limit before the processors. False if no time is left, and it has ended. */
  onArrival?(incoming: AnyIncoming): boolean;
  /** Must not throw. */
  onCall(call: IncomingCall): void;
  /** Must not throw. */
  onChannel(incoming: IncomingChannel): void;
}

export interface ServedConnection extends ConnectionHandle {
  sendEvent(target: string, body: unknown): void;
  /** The peer violated the protocol. */
  protocolError(message: string): void;
}

export interface ServingOptions {
  readonly connection: ServedConnection;
  readonly owner: CallOwner;
  readonly link: Link;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly limits: RapLimits;
  readonly channels: ChannelTable;
  readonly table: IncomingTable;
  readonly sessions: Sessions;
  readonly slowReader: SlowReaderGuard;
  /** Sends a frame that is not an answer and returns its size. */
  readonly send: (type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown) => number;
  /** A handler has ended. */
  readonly ended: () => void;
  /** Whether the client has confirmed that it read the shutdown event: what it sends now, it should not have. */
  readonly knowsOfShutdown: () => boolean;
  /** The async context in which each call and channel begins: nothing leaks in from another one. */
  readonly context: CleanContext;
}

/** Makes the {@link Serving} of each connection of a server. */
export type ServingPath = (options: ServingOptions) => Serving;

/** Without processors. */
export const PLAIN_SERVING: ServingPath = (options) => new Serving(options);

/**
 * Takes incoming calls and channels to the owner's handlers, and sends their answers. A call goes through `onCall`, the
 * handler, `answer`, `ended`.
 */
export class Serving implements IncomingHost {
  readonly connection: ServedConnection;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly sessions: Sessions;
  isDraining = false;

  protected readonly owner: CallOwner;
  protected readonly receipts: EventReceipts;
  readonly #waiting = new WaitingAnswers();

  constructor(protected readonly options: ServingOptions) {
    this.connection = options.connection;
    this.clock = options.clock;
    this.deadlines = options.deadlines;
    this.sessions = options.sessions;
    this.owner = options.owner;
    this.receipts = new EventReceipts(options);
  }

  get frameAt(): number {
    return this.options.link.frameAt ?? this.clock.now();
  }

  // [101, id, {target}, parameters], answered [101, id, {}, result]
  onCall(id: number, header: Header, body: unknown, bytes: number, cost: number): void {
    const { table } = this.options;
    if (isErrorStatus(header.status_code)) return; // an error is never answered with an error, or both sides would loop
    if (table.has(id)) return this.#inUse(id);
    const oneWay = header.one_way === true && this.connection.has(Extension.OneWay);
    const call = this.newCall(id, header, body, oneWay);
    call.bytes = bytes;
    call.cost = cost;
    if (!table.add(call)) return this.#tooMany(call, 'Too many calls in flight');
    if (this.#mustTurnAway(call)) return this.#turnAway(call);
    call.joinSession();
    this.dispatch(call);
  }

  protected newCall(id: number, header: Header, body: unknown, oneWay: boolean): IncomingCall {
    return new IncomingCall(this, id, header, body, oneWay);
  }

  protected dispatch(call: IncomingCall): void {
    if (call.oneWay) this.receipts.taken(call);
    this.options.context.run(this.owner.onCall, this.owner, call);
  }

  // [102, id, {channel_life_cycle: DECLARE, target}, metadata], answered [102, id, {channel_life_cycle: DECLARE}, nil]
  onDeclare(id: number, header: Header, metadata: unknown, bytes: number, cost: number): void {
    const { table, channels } = this.options;
    if (table.has(id)) return this.#inUse(id);
    const incoming = this.newChannel(header, channels.create(id, 'open', metadata));
    incoming.cost = cost;
    if (!table.add(incoming)) return this.#tooMany(incoming, 'Too many channels');
    if (this.#mustTurnAway(incoming)) return this.#turnAway(incoming);
    incoming.joinSession();
    this.dispatchChannel(incoming, bytes);
  }

  protected newChannel(header: Header, channel: Channel): IncomingChannel {
    return new IncomingChannel(this, header, channel);
  }

  protected dispatchChannel(incoming: IncomingChannel, _bytes: number): void {
    this.options.context.run(this.owner.onChannel, this.owner, incoming);
  }

  /** A call or DECLARE whose body cannot be decoded: no handler runs. */
  onUnreadable([type, id, header]: Frame, fault: Fault): void {
    const { table, send } = this.options;
    if (table.has(id)) return this.#inUse(id);
    const isCall = type === MsgType.Msg;
    const isOneWay = isCall && header.one_way === true && this.connection.has(Extension.OneWay);
    if (isOneWay && !this.connection.has(Extension.EventAnswer)) return;
    const { header: head, body } = toErrorFrame(fault);
    send(type, id, isCall ? head : { ...head, channel_life_cycle: LifeCycle.Drop }, body);
  }

  /** Only a faulty client gets here: ids wrap after 2^31. */
  #inUse(id: number): void {
    this.connection.protocolError(`correlation id ${id} is in use`);
  }

  /** The client cancels a call. A channel is cancelled by DROP. */
  onCancel(id: unknown): void {
    const incoming = typeof id === 'number' ? this.options.table.get(id) : undefined;
    if (incoming?.kind === 'call') incoming.cancelByPeer();
  }

  /** The server drains: aborts the `draining` signals. */
  drain(): void {
    this.isDraining = true;
    this.options.table.drainAll();
  }

  // --- answers ------------------------------------------------------------------------------------------------

  answer(call: IncomingCall, header: Header | null, body: unknown): void {
    if (call.oneWay) return;
    const { slowReader } = this.options;
    if (slowReader.isPaused && slowReader.isFull) this.#waiting.add({ call, header, body });
    else this.#send(call, header, body);
  }

  #send(call: IncomingCall, header: Header | null, body: unknown): void {
    try {
      this.options.link.send(MsgType.Msg, call.id, header, body);
      this.options.slowReader.answered();
    } catch (error) {
      call.observer?.failed(error as Fault); // it has settled with an answer
      this.answerError(call, error as Fault);
    }
  }

  answerError(call: IncomingCall, fault: Fault, name?: string, more: Header | null = null): void {
    if (call.oneWay) return;
    const { header, body } = toErrorFrame(fault, name);
    const { send } = this.options;
    if (more) {
      try {
        send(MsgType.Msg, call.id, { ...more, ...header }, body);
        return;
      } catch {
        // with what the application adds, the header cannot be sent: the error goes without
      }
    }
    send(MsgType.Msg, call.id, header, body);
  }

  /** The send buffer has drained. Returns whether no answer waits any more, so that reading may resume. */
  onDrain(): boolean {
    if (this.#waiting.size === 0) return true;
    const { slowReader } = this.options;
    this.#waiting.flush(
      () => !slowReader.isFull,
      ({ call, header, body }) => this.#send(call, header, body),
    );
    return this.#waiting.size === 0;
  }

  accept({ id }: IncomingChannel): void {
    this.sendDeclared(id, { channel_life_cycle: LifeCycle.Declare }, null);
  }

  // [102, id, {channel_life_cycle: DECLARE}, nil]
  protected sendDeclared(id: number, header: Header | null, body: unknown): number {
    return this.options.send(MsgType.Channel, id, header, body);
  }

  turnIntoStream(call: IncomingCall): Channel | undefined {
    if (call.oneWay || !this.connection.has(Extension.StreamReply)) return undefined;
    this.options.table.becomesStream(call);
    return this.newStream(call);
  }

  protected newStream({ id }: IncomingCall): Channel {
    return this.options.channels.create(id, 'open', undefined);
  }

  takeSlot(channel: IncomingChannel): boolean {
    const hasSlot = this.options.table.takeSlot(channel);
    if (!hasSlot) tellRefusal('channel', 'limit');
    return hasSlot;
  }

  settled({ startedAt }: Incoming, wasted: boolean): void {
    if (this.connection.isClosed || this.options.table.settled(startedAt, wasted)) return;
    this.connection.close(CloseReason.ExcessiveResets);
  }

  ended(incoming: AnyIncoming): void {
    if (incoming.kind === 'channel') incoming.channel.uncharge();
    this.options.table.remove(incoming);
    if (incoming.isTaken) this.receipts.ended();
    this.options.ended();
  }

  /** The connection is closed. */
  stop(): void {
    this.#waiting.clear();
    this.receipts.stop();
  }

  #tooMany(incoming: AnyIncoming, message: string): void {
    const { overload } = this.options.table;
    tellRefusal(incoming.kind, overload?.reason ?? 'limit');
    this.#refuse(incoming, tooMany(overload?.message ?? message));
  }

  #refuse(incoming: AnyIncoming, fault: Fault): void {
    this.fail(incoming, fault, 'TooManyRequestsError');
    incoming.ended();
  }

  #mustTurnAway(incoming: AnyIncoming): boolean {
    return this.isDraining && this.options.knowsOfShutdown() && !this.options.table.spare(incoming);
  }

  /** A client that ignores the shutdown event would keep the server from ending, and lose calls when time is over. */
  #turnAway(incoming: AnyIncoming): void {
    this.options.table.refused += 1;
    tellRefusal(incoming.kind, 'shutdown');
    this.#refuse(incoming, shutsDown());
  }

  /** Fails a call or channel that has not reached a handler. */
  protected fail(incoming: AnyIncoming, fault: Fault, name: string): void {
    if (incoming.kind === 'call' && incoming.oneWay) this.receipts.refused(incoming, fault, name);
    incoming.fail(fault, name);
  }
}
