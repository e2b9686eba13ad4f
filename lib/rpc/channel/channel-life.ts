import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../../protocol/life-cycle.js';
import { Status } from '../../protocol/status.js';
import { toErrorFrame } from '../../protocol/wire-error.js';
import { ScopedSignal } from '../context/scoped-signal.js';
import type { ReadingPause } from '../reading-pause.js';
import { type ChannelFlow, type FlowChannel, STRAIGHT, type UnderWay } from './channel-flow.js';
import { ChannelInbox, type InboxOwner } from './channel-inbox.js';
import type { ChannelHost, ChannelOptions } from './channel-options.js';
import { ChannelOutbox, type OutboxOwner } from './channel-outbox.js';
import { CHANNEL_TABLE, type ChannelEvent, type ChannelRefusal, type ChannelState } from './channel-state.js';

/** The internals of a channel: its state, both directions, and its close. */
export class ChannelLife implements InboxOwner, OutboxOwner, FlowChannel {
  readonly inbox: ChannelInbox;
  readonly outbox: ChannelOutbox;
  readonly halfClose: boolean;
  /** Takes messages to and from the wire. */
  flow: ChannelFlow;
  state: ChannelState;
  isOver = false;
  /** Why it closed; `undefined` after an orderly close. */
  fault: Fault | undefined;
  /** Whether the peer closed it: by DROP, by an error, or by disconnecting. */
  closedByPeer = false;
  /** The caller's time limit. */
  limit: { endedByPeer(fault: Fault): Fault } | undefined;

  readonly #host: ChannelHost;
  readonly #fastOpen: boolean;
  #signal: ScopedSignal | undefined;
  #onDeclared: (() => void)[] | undefined;
  #onClosed: (() => void)[] = [];
  #onDone: (() => void)[] | undefined;

  constructor(options: ChannelOptions) {
    const { receiveWindow, sendWindow, flow = STRAIGHT } = options;
    this.#host = options.host;
    this.#fastOpen = options.fastOpen;
    this.halfClose = options.halfClose;
    this.state = options.state;
    this.flow = flow;
    this.inbox = new ChannelInbox(receiveWindow, sendWindow !== undefined, this);
    this.outbox = new ChannelOutbox(sendWindow, this);
    flow.attach(this);
  }

  // --- state --------------------------------------------------------------------------------------------------

  get isDeclaring(): boolean {
    return this.state === 'declaring' || this.state === 'endedEarly';
  }

  get isClosed(): boolean {
    return this.state === 'closed';
  }

  /** Whether this side has closed the channel, even if its last message is still in the flow. */
  get isEnding(): boolean {
    return this.isClosed || this.flow.isClosing;
  }

  get peerIsDone(): boolean {
    return this.state === 'closed' || this.state === 'peerEnded';
  }

  get nothingComes(): boolean {
    return this.peerIsDone && !this.flow.isReceiving;
  }

  get mayWrite(): boolean {
    return this.state !== 'declaring' || this.#fastOpen;
  }

  get isSending(): boolean {
    return this.flow.isSending;
  }

  get underWay(): UnderWay | undefined {
    return this.flow.underWay;
  }

  /** Applies an event to the state; returns why if it is refused. */
  step(event: ChannelEvent): ChannelRefusal | undefined {
    const step = CHANNEL_TABLE[this.state][event];
    if ('refused' in step) return step.refused;
    this.state = step.to;
    return undefined;
  }

  assertStep(event: 'msg' | 'end'): void {
    const step = CHANNEL_TABLE[this.state][event];
    if (this.outbox.isEnding || this.flow.isClosing) throw lifeCycleFault('this side has ended');
    if ('refused' in step) throw this.fault ?? lifeCycleFault(step.refused);
    if (event === 'end' && !this.halfClose)
      throw lifeCycleFault('the peer does not know half-closed channels: use close()');
  }

  // --- InboxOwner, OutboxOwner --------------------------------------------------------------------------------

  send(header: Header | EncodedHeader, body: unknown): number {
    return this.#host.send(header, body);
  }

  transmit(body: unknown, header: Header | undefined): void | Promise<void> {
    return this.flow.send(body, header, this.outbox);
  }

  hold(body: unknown): unknown {
    return this.#host.hold(body);
  }

  hasRoom(): boolean {
    return this.#host.hasRoom();
  }

  charge(cost: number): void {
    this.#host.charge(cost);
  }

  grant(bytes: number): void {
    this.flow.grant(bytes, this);
  }

  sendCredit(bytes: number): void {
    this.#host.send(LIFE_CYCLE_HEADER.CREDIT, bytes);
  }

  pauseReading(): ReadingPause {
    return this.#host.pauseReading();
  }

  // --- the end ------------------------------------------------------------------------------------------------

  /** Aborted when the channel closes. Created on first use. */
  get signal(): AbortSignal {
    this.#signal ??= new ScopedSignal();
    if (this.isClosed) this.#signal.abort(this.fault);
    return this.#signal.signal;
  }

  whenClosed(callback: () => void): void {
    if (this.isClosed) callback();
    else this.#onClosed.push(callback);
  }

  whenDone(callback: () => void): void {
    if (this.isClosed && !this.flow.isReceiving) callback();
    else (this.#onDone ??= []).push(callback);
  }

  /** Sends DROP: with the fault, if it fits the connection's limits. */
  sendDrop(fault: Fault | undefined, name?: string): void {
    if (!this.flow.isKnownToPeer) return;
    const added = this.outbox.takeAdded(undefined);
    if (added && this.#sendsDrop(added, fault, name)) return;
    if (fault && this.#sendsDrop(undefined, fault, name)) return;
    this.#host.send(LIFE_CYCLE_HEADER.DROP, null);
  }

  /** False if the limits are too small for what the application adds, or for the fault, but not for a plain DROP. */
  #sendsDrop(added: Header | undefined, fault: Fault | undefined, name: string | undefined): boolean {
    const { header, body } = fault ? toErrorFrame(fault, name) : NO_ERROR;
    try {
      this.#host.send({ ...added, channel_life_cycle: LifeCycle.Drop, ...header }, body);
      return true;
    } catch {
      return false;
    }
  }

  endHere(fault: Fault | undefined): void {
    if (!fault) this.inbox.clear();
    this.finish(fault, 'drop');
  }

  whenDeclared(callback: () => void): void {
    if (this.isDeclaring) (this.#onDeclared ??= []).push(callback);
    else callback();
  }

  /** DECLARE was answered, or the channel is closed. */
  declared(): void {
    const callbacks = this.#onDeclared;
    this.#onDeclared = undefined;
    if (callbacks) for (const callback of callbacks) callback();
  }

  /** END was sent. */
  ended(): void {
    if (this.isClosed) return; // sending the frame ended the connection
    this.step('end');
    if (this.isClosed) this.finish(undefined, 'drop');
  }

  /** END was received. */
  peerEnded(): void {
    // the peer may not have our END yet, and send DROP as well
    if (this.isClosed) this.finish(undefined, 'peerDrop', false);
    else if (this.nothingComes) this.inbox.settle();
  }

  peerGone(fault: Fault | undefined): void {
    if (!this.isClosed) this.finish(fault && (this.limit?.endedByPeer(fault) ?? fault), 'peerDrop');
  }

  /** Closes the channel, once. `event`: the side that did. */
  finish(fault: Fault | undefined, event: 'drop' | 'peerDrop', peerKnows = event === 'peerDrop'): void {
    // sending the last frame may end the connection, and with it the channel
    if (this.isOver) return;
    this.isOver = true;
    const haveBothEnded = this.isClosed; // by END of both; `step` is a no-op then
    this.step(event);
    this.fault = fault;
    this.closedByPeer = event === 'peerDrop';
    this.inbox.release();
    // an error costs more than the rest of the close
    if (this.outbox.isWaiting) this.outbox.fail(fault ?? lifeCycleFault('the channel is closed'));
    this.flow.ended(fault, this.closedByPeer || haveBothEnded);
    if (this.nothingComes) this.inbox.settle();
    this.#signal?.abort(fault);
    this.#host.released(peerKnows);
    this.declared();
    for (const callback of this.#onClosed.splice(0)) callback();
    if (!this.flow.isReceiving) this.#done();
  }

  refusal(): Fault | undefined {
    return this.isOver ? (this.fault ?? lifeCycleFault('the channel is closed')) : undefined;
  }

  idle(): void {
    if (this.nothingComes) this.inbox.settle();
    if (this.isOver) this.#done();
  }

  failReader(fault: Fault | undefined): void {
    this.fault ??= fault;
    this.inbox.settle();
    this.#done();
  }

  /** Closed, and nothing is in the flow. */
  #done(): void {
    this.flow.over();
    const callbacks = this.#onDone;
    this.#onDone = undefined;
    if (callbacks) for (const callback of callbacks) callback();
  }
}

function lifeCycleFault(message: string): Fault {
  return new Fault({ status: Status.ChannelLifeCycle, message });
}

/** What DROP carries at an orderly end. */
const NO_ERROR = { header: null, body: null };
