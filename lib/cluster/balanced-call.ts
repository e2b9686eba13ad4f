import { FurtherAttempt } from '../diagnostics/made-operation.js';
import type { RapClientOperation } from '../diagnostics/messages.js';
import type { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import type { Channel } from '../rpc/channel/channel.js';
import type { CallRequest, ReplySink } from '../rpc/client/call-request.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { CapturedContext } from '../rpc/context/async-context.js';
import { ChannelUse, type Judge } from './channel-use.js';
import type { PickedCall } from './balancing/balancer.js';
import type { Endpoint } from './endpoint.js';
import { Attempts, withAttempts } from './failures/attempts.js';
import type { Verdict } from './failures/classify.js';
import type { BalancedRequest, StartedCall } from './peer-source.js';
import { type FailedCall, RepeatedCall, type RepeatingHost } from './repeated-call.js';

/** What a call over several servers needs of its fleet. */
export interface BalancedHost extends RepeatingHost, Judge {
  /** The server for the next attempt; `undefined` if none takes calls now. */
  pick(call: PickedCall, tried: ReadonlySet<Endpoint> | undefined): Endpoint | undefined;
  /** A connection to it; `undefined` if there is none. */
  peerOf(endpoint: Endpoint): ClientPeer | undefined;
  /** A call goes to an ejected server as its probe. */
  probing(endpoint: Endpoint): void;
  /** A body for one more attempt: processors may change theirs. */
  copyOf(held: unknown): unknown;
  /** The async context of the caller, if each attempt runs code of the application; else `undefined`. */
  captureContext(): CapturedContext | undefined;
}

/** One call over several servers: an attempt on one, and on another if that failed and repeating is safe. */
export class BalancedCall extends RepeatedCall<BalancedRequest, BalancedHost> implements ReplySink {
  #pending: Abandonable | undefined;
  #endpoint: Endpoint | undefined;
  #where: string | undefined;
  #startedAt = 0;
  #isProbe = false;
  #isOver = false;
  /** An attempt is being started: it may fail before `transmit` returns. */
  #isStarting = false;
  #early: Fault | undefined;
  /** The other attempt at the same call that runs at the same time. */
  #beside: BalancedCall | undefined;
  /** The attempt as subscribers see it, if it is not the first. */
  #observed: FurtherAttempt | undefined;
  /** Later attempts begin with a timer, or the failure of another call. */
  readonly #context: CapturedContext | undefined;

  /** @param beside the call whose second attempt this is: on another server, by the same deadline, with the same limits */
  constructor(
    request: BalancedRequest,
    protected readonly sink: ReplySink,
    host: BalancedHost,
    beside?: BalancedCall,
  ) {
    super(request, host);
    this.expiresAt = beside?.expiresAt ?? host.clock.now() + request.leftMs;
    this.#context = beside ? beside.#context : host.captureContext();
    if (beside) this.#joins(beside);
  }

  #joins(other: BalancedCall): void {
    this.#beside = other;
    other.#beside = this;
    this.tried = other.tried ??= new Set();
    if (other.#endpoint) this.tried.add(other.#endpoint);
    this.attempts = other.attempts ??= new Attempts(other.#startedAt);
  }

  get wasSent(): boolean {
    return this.runs > 0 || this.#pending?.wasSent === true;
  }

  /** What it has tried, the attempt that runs included; `undefined` if none runs. */
  get running(): Pick<FailedCall, 'executions' | 'tried'> | undefined {
    if (!this.#endpoint) return undefined;
    return { executions: this.runs + 1, tried: this.tried ?? new Set([this.#endpoint]) };
  }

  /** The server of the last attempt. */
  get where(): string | undefined {
    return this.#where;
  }

  // --- attempts -----------------------------------------------------------------------------------------------

  /** Starts the first attempt, or the next one. */
  start(): void {
    for (;;) {
      const endpoint = this.host.pick(this.request, this.tried);
      const peer = endpoint && this.host.peerOf(endpoint);
      if (!endpoint || !peer) return this.wait();
      if (!this.#attempt(endpoint, peer)) return;
    }
  }

  override startAgain(): void {
    if (this.#context) this.#context.runInAsyncScope(() => this.start());
    else this.start();
  }

  /** Returns true if it has failed already and the next one is due at once. */
  #attempt(endpoint: Endpoint, peer: ClientPeer): boolean {
    const { request, host } = this;
    const now = host.clock.now();
    this.#endpoint = endpoint;
    this.#where = endpoint.address;
    this.#startedAt = now;
    this.#isProbe = endpoint.isProbeDue;
    if (this.#isProbe) host.probing(endpoint);
    endpoint.traffic.begin(now);
    this.tried?.add(endpoint);
    this.#isStarting = true;
    const leftMs = Math.max(1, Math.ceil(this.expiresAt - now));
    const { operation } = request;
    this.#observed = operation && this.#observe(operation, endpoint);
    try {
      const body = host.copyOf(request.held);
      const more = this.#observed?.header;
      this.#pending = this.transmit(peer, request.to(peer, endpoint.address, body, leftMs, more));
    } catch (error) {
      this.#early = error as Fault; // the copy has failed
    }
    this.#isStarting = false;
    const early = this.#early;
    this.#early = undefined;
    return early !== undefined && this.#failed(early);
  }

  /** Tells subscribers of an attempt beyond the first. */
  #observe(operation: RapClientOperation, { address: server }: Endpoint): FurtherAttempt | undefined {
    const failed = this.attempts?.count ?? 0;
    const number = failed + (this.#otherRuns ? 2 : 1);
    const failure = this.#otherRuns ? undefined : this.attempts?.last;
    return number === 1 ? undefined : FurtherAttempt.start(operation, { server, number, failure });
  }

  protected transmit(peer: ClientPeer, request: CallRequest): Abandonable {
    return peer.call(request, this);
  }

  /** The attempt has an outcome, or nobody waits for it any more. */
  #ended(how: Verdict | 'abandoned', fault?: Fault): void {
    const endpoint = this.#endpoint;
    if (!endpoint) return;
    this.#endpoint = this.#pending = undefined;
    if (how === 'abandoned') this.#observed?.giveUp();
    else this.#observed?.finish(fault);
    const now = this.host.clock.now();
    endpoint.traffic.end(now, this.#startedAt, how === 'refused' ? 'failed' : how);
    this.#judge(endpoint, how === 'abandoned' ? 'ignored' : how, fault);
  }

  /** What the outcome says about the server. */
  #judge(endpoint: Endpoint, verdict: Verdict, fault?: Fault): void {
    if (this.#isProbe) this.host.probed(endpoint, verdict);
    else if (verdict !== 'ignored') this.host.ended(endpoint, fault, this.#startedAt);
  }

  /** Returns true if the next attempt is due at once. */
  #failed(fault: Fault): boolean {
    const endpoint = this.#endpoint as Endpoint;
    this.#ended(this.host.verdictOf(fault, this.#startedAt), fault);
    const afterMs = this.repeatAfterMs(endpoint, fault, this.#startedAt);
    if (afterMs === 0) return true;
    // no server gets it twice while the other attempt runs
    if (afterMs === undefined || this.#otherRuns) this.giveUp(fault);
    else this.pause(afterMs);
    return false;
  }

  protected override get executions(): number {
    return this.runs + (this.#beside?.runs ?? 0) + (this.#otherRuns ? 1 : 0);
  }

  get #otherRuns(): boolean {
    const other = this.#beside;
    return other !== undefined && other.#pending !== undefined;
  }

  // --- outcomes -----------------------------------------------------------------------------------------------

  resolve(body: unknown, header?: Header | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#ended('answered');
    this.sink.resolve(body, header);
  }

  reject(fault: Fault): void {
    if (this.#isOver) return;
    if (this.#isStarting) this.#early = fault;
    else if (this.#failed(fault)) this.startAgain();
  }

  protected override giveUp(fault: Fault): void {
    this.#isOver = true;
    this.sink.reject(withAttempts(fault, this.attempts));
  }

  abandon(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.stopWaiting();
    this.#pending?.abandon();
    this.#ended('abandoned');
  }

  /** The answer is a stream: the server works on the call as long as it is open. */
  protected becameStream(channel: Channel): void {
    this.#isOver = true;
    const endpoint = this.#endpoint;
    this.#endpoint = this.#pending = undefined;
    if (!endpoint) return;
    this.#observed?.finish(undefined);
    endpoint.traffic.end(this.host.clock.now(), this.#startedAt, 'answered');
    this.#judge(endpoint, 'answered');
    const use = new ChannelUse(endpoint, this.host);
    use.taken();
    channel.whenDone(() => use.ended(channel.fault));
  }
}

/** What an attempt can be asked. */
type Abandonable = Pick<StartedCall, 'wasSent' | 'abandon'>;

/** A call whose caller accepts a stream as well as one value. */
export class StreamableCall extends BalancedCall {
  stream(channel: Channel): void {
    this.becameStream(channel);
    this.sink.stream?.(channel);
  }
}

/** An event over several servers. */
export class BalancedEvent extends BalancedCall {
  protected override transmit(peer: ClientPeer, request: CallRequest): Abandonable {
    peer.emit(request).then(
      () => this.resolve(undefined),
      (fault: Fault) => this.reject(fault),
    );
    return UNABANDONABLE;
  }
}

/** Nobody cancels an event. */
const UNABANDONABLE: Abandonable = { wasSent: true, abandon: () => {} };
