import type { Timer } from '../protocol/clock.js';
import { hold } from '../protocol/encoder.js';
import { Fault, LocalCode } from '../protocol/fault.js';
import { heldBytes } from '../protocol/held-body.js';
import { Status } from '../protocol/status.js';
import { PROCESS_CONTEXT } from '../rpc/context/async-context.js';
import { connectionLost } from '../rpc/connection/connection-lost.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { PendingCall } from '../rpc/client/pending-call.js';
import { Backoff, type Ending, type ReconnectOptions } from './backoff.js';
import { type CallCounts, countsOf, countsOn, sumOf } from './call-counts.js';
import { type AttemptOwner, ConnectAttempt, type ConnectOptions, unreachable } from './connect-attempt.js';
import { Leases } from './leases.js';
import type { ConnectionStatus, PeerSource, PinnedLease } from './peer-source.js';
import { UnsentCalls, Waiter } from './waiting-calls.js';

export interface ConnectionOptions extends ConnectOptions {
  /** `undefined`: reconnects with the next call only. */
  readonly reconnect: ReconnectOptions | undefined;
  readonly onStatus: (status: ConnectionStatus, reason?: Fault) => void;
}

/**
 * State of the connection.
 *
 * - `idle`: not connected; the next call connects
 * - `connecting`: an attempt is in progress
 * - `open`: calls go to `peer`
 * - `waiting`: the timer starts the next attempt
 */
type State =
  | { readonly name: 'idle' }
  | { readonly name: 'connecting'; readonly attempt: ConnectAttempt }
  | { readonly name: 'open'; readonly peer: ClientPeer }
  | { readonly name: 'waiting'; readonly timer: Timer };

/**
 * The connection to one server, which reconnects after it was lost.
 *
 * If the first connection fails, all waiting calls fail at once: the address may be wrong. After that, calls wait through an
 * outage as long as their own time limits allow, since a restart is short.
 */
export class Connection implements AttemptOwner, PeerSource {
  #state: State = { name: 'idle' };
  #wasOpen = false;
  readonly #waiters = new Set<Waiter>();
  /** Bytes of the bodies of calls that wait for a connection. */
  #waitingBytes = 0;
  /** Peers that finish their calls after the server said shutdown. */
  readonly #draining = new Set<ClientPeer>();
  /** Calls that were not sent before the server shut down; they go to the next connection. */
  readonly #unsent: UnsentCalls;
  readonly #drained: (() => void)[] = [];
  readonly #backoff: Backoff | undefined;
  readonly #leases: Leases;

  constructor(private readonly options: ConnectionOptions) {
    const { reconnect, clock, deadlines } = options;
    this.#unsent = new UnsentCalls(deadlines, () => this.#holdProcess());
    this.#leases = new Leases(options, () => this.#tellIfDrained());
    this.#backoff = reconnect && new Backoff(reconnect, () => clock.now());
  }

  get where(): string {
    return this.options.where;
  }

  get peer(): ClientPeer | undefined {
    const state = this.#state;
    // a closing peer fails its calls before it calls onClose
    return state.name === 'open' && state.peer.state === 'open' ? state.peer : undefined;
  }

  hold(body: unknown): unknown {
    const { limits, calling } = this.options;
    return hold(body, limits, calling?.holdsValues === true);
  }

  async acquire(what: string, timeoutMs: number, held?: unknown): Promise<ClientPeer> {
    const until = this.options.clock.now() + timeoutMs;
    for (;;) {
      const now = this.options.clock.now();
      const open = this.peer;
      // channels do not queue for the proof that the server lives, so they wait here
      const isUsable = open?.mustProve(now) === false;
      const peer = isUsable
        ? open
        : await this.#wait(what, timeoutMs, Math.max(1, until - now), heldBytes(held));
      // it may have been lost between its opening and this use
      if (peer.state === 'open') return peer;
    }
  }

  async lease(what: string, timeoutMs: number, exclusive: boolean): Promise<PinnedLease> {
    if (exclusive) return this.#leases.open({ what, timeoutMs, leftMs: timeoutMs });
    return { peer: await this.acquire(what, timeoutMs), release: () => {} };
  }

  #wait(what: string, timeoutMs: number, leftMs: number, bytes: number): Promise<ClientPeer> {
    const { limits, deadlines } = this.options;
    const isFull = this.#waitingBytes > limits.maxQueuedBytes;
    if (isFull || this.#waiters.size >= limits.maxQueuedCalls) {
      return Promise.reject(
        new Fault({
          status: Status.TooManyRequests,
          code: LocalCode.Overload,
          message: `Overload: ${this.#waiters.size} calls${isFull ? ` (${this.#waitingBytes} bytes)` : ''} wait for a connection to ${this.options.where}`,
          sent: 'no',
        }),
      );
    }
    return new Promise((resolve, reject) => {
      const waiter = new Waiter(what, timeoutMs, this.options.where, {
        done: (result) => {
          if (this.#waiters.delete(waiter)) this.#waitingBytes -= bytes;
          deadlines.remove(waiter);
          this.#holdProcess();
          if (result instanceof Fault) reject(result);
          else resolve(result);
        },
      });
      this.#waiters.add(waiter);
      this.#waitingBytes += bytes;
      deadlines.add(waiter, leftMs);
      // it outlives the call that needs it first
      if (this.#state.name === 'idle') PROCESS_CONTEXT.run(() => this.#connect(), undefined, undefined);
      this.#holdProcess();
    });
  }

  /** Between two attempts no socket keeps the process alive: it would exit silently while calls wait. */
  #holdProcess(): void {
    if (this.#state.name === 'waiting') this.#state.timer.hold(this.#waiters.size + this.#unsent.size > 0);
  }

  close(reason: string): void {
    const draining = [...this.#draining];
    this.#leases.close(reason);
    this.#disconnect(reason);
    for (const peer of draining) peer.close(reason);
  }

  /** As `close`, but calls on draining connections may finish. */
  #disconnect(reason: string): void {
    const state = this.#state;
    this.#state = { name: 'idle' };
    this.#wasOpen = false;
    if (state.name === 'waiting') state.timer.cancel();
    if (state.name === 'open') state.peer.close(reason);
    if (state.name === 'connecting') state.attempt.cancel(reason);
    this.#failWaiting(reason);
    if (state.name !== 'idle') this.options.onStatus('disconnected');
  }

  #failWaiting(reason: string): void {
    this.#takeWaiting().fail(
      connectionLost(`the connection to ${this.options.where} was closed: ${reason}`, undefined, 'no'),
    );
  }

  async drain(): Promise<void> {
    const { peer } = this;
    if (peer) {
      this.#draining.add(peer);
      this.#state = { name: 'idle' };
      this.#wasOpen = false;
      peer.finish();
      this.#failWaiting('the client was drained'); // channels that waited for the proof that the server lives
      this.options.onStatus('disconnected');
    } else this.#disconnect('the client was drained');
    await new Promise<void>((resolve) => {
      this.#drained.push(resolve);
      this.#tellIfDrained();
    });
  }

  #tellIfDrained(): void {
    if (this.#draining.size > 0 || !this.#leases.isEmpty) return;
    for (const done of this.#drained.splice(0)) done();
  }

  /** Calls that were sent and not answered, on all connections to this server. */
  get inFlight(): number {
    let count = this.peer?.calls.inFlight ?? 0;
    for (const peer of this.#draining) count += peer.calls.inFlight;
    return count;
  }

  /** Calls that wait to be sent. */
  get queued(): number {
    return (this.peer?.calls.queued ?? 0) + this.#waiters.size + this.#unsent.size;
  }

  counts(): CallCounts {
    const leased = countsOf(this.#leases.all());
    const own = [...(this.peer ? [this.peer] : []), ...this.#draining].map(countsOn);
    return { ...sumOf([...own, leased]), queued: this.queued + leased.queued };
  }

  // --- called by the peer -------------------------------------------------------------------------------------

  onOpen(peer: ClientPeer): void {
    if (this.#state.name !== 'connecting' || this.#state.attempt.peer !== peer) return;
    this.#state = { name: 'open', peer };
    this.#wasOpen = true;
    this.#backoff?.opened();
    this.options.onStatus('connected');
    peer.calls.adopt(this.#unsent.takeAll());
    this.#use(peer);
  }

  onSuspect(peer: ClientPeer, isSuspect: boolean): void {
    if (!isSuspect && this.peer === peer) this.#use(peer);
  }

  #use(peer: ClientPeer): void {
    for (const waiter of Array.from(this.#waiters)) waiter.settle(peer);
  }

  onShutdown(peer: ClientPeer, unsent: PendingCall[]): void {
    this.#draining.add(peer);
    for (const call of unsent) this.#unsent.add(call);
    this.#holdProcess();
    if (this.#state.name !== 'open' || this.#state.peer !== peer) return;
    const message = peer.endsInOrder
      ? `${this.options.where} shuts down`
      : `the connection to ${this.options.where} takes no more calls`;
    this.#lost(connectionLost(message, undefined, 'no'), { isOrderly: true });
  }

  onClose(peer: ClientPeer, reason: Fault): void {
    this.#draining.delete(peer);
    this.#tellIfDrained();
    const state = this.#state;
    if (state.name === 'open' && state.peer === peer) this.#lost(reason, { isOrderly: peer.endsInOrder });
    if (state.name === 'connecting' && state.attempt.peer === peer) this.#failed(reason);
  }

  onUnreachable(attempt: ConnectAttempt, cause: unknown): void {
    if (this.#state.name !== 'connecting' || this.#state.attempt !== attempt) return;
    this.#failed(cause);
  }

  // --- connecting ---------------------------------------------------------------------------------------------

  #connect(): void {
    const attempt = new ConnectAttempt(this.options, this);
    this.#state = { name: 'connecting', attempt };
    this.options.onStatus(this.#wasOpen ? 'reconnecting' : 'connecting');
    void attempt.start();
  }

  #failed(cause: unknown): void {
    const origin = cause instanceof Fault ? (cause.cause ?? cause) : cause;
    this.#lost(connectionLost(unreachable(this.options.where, cause), origin, 'no'));
  }

  /** The connection was lost, or an attempt failed: tries again later, or fails the waiting calls. */
  #lost(reason: Fault, ending?: Ending): void {
    if (this.#backoff && this.#wasOpen) {
      const wasOpen = this.#state.name === 'open';
      const timer = this.options.clock.after(this.#backoff.nextDelayMs(ending), () => this.#connect());
      const waiting: State = (this.#state = { name: 'waiting', timer });
      this.#holdProcess();
      for (const waiter of this.#waiters) waiter.cause = reason;
      if (wasOpen) this.options.onStatus('disconnected', reason);
      // the listener may have closed it
      if (this.#state === waiting) this.options.onStatus('reconnecting', reason);
      return;
    }
    this.#state = { name: 'idle' };
    const waiting = this.#takeWaiting();
    this.options.onStatus('disconnected', reason);
    waiting.fail(connectionLost(reason.message, reason.cause ?? reason, 'no'));
  }

  /** Takes the calls that wait now: one that comes while they fail may wait for the next connection. */
  #takeWaiting(): { fail(reason: Fault): void } {
    const calls = this.#unsent.takeAll();
    const waiters = Array.from(this.#waiters);
    return {
      fail(reason) {
        for (const call of calls) call.reject(reason);
        for (const waiter of waiters) waiter.settle(reason);
      },
    };
  }
}
