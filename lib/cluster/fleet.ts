import type { Clock } from '../protocol/clock.js';
import { hold } from '../protocol/encoder.js';
import { tellEndpoint } from '../diagnostics/channels.js';
import type { Fault } from '../protocol/fault.js';
import { Snapshot } from '../protocol/snapshot.js';
import type { CallingPath } from '../rpc/client/calling.js';
import type { ReplySink } from '../rpc/client/call-request.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import { connectionLost } from '../rpc/connection/connection-lost.js';
import { type CapturedContext, captureContext } from '../rpc/context/async-context.js';
import type { RapLimits } from '../rpc/limits.js';
import type { DeadlineQueue } from '../rpc/time/deadline-queue.js';
import { BalancedCall, BalancedEvent, StreamableCall } from './balanced-call.js';
import type { Ending } from './backoff.js';
import type { Balancer, PickedCall } from './balancing/balancer.js';
import type { Endpoint, EndpointChange, EndpointOwner, EndpointState } from './endpoint.js';
import { Endpoints, type EndpointsOptions, type FleetCounts } from './endpoints.js';
import { type Verdict, verdictOf } from './failures/classify.js';
import type { FleetHealth } from './fleet-health.js';
import { FleetStatus } from './fleet-status.js';
import { type HedgeHost, HedgedCall } from './hedged-call.js';
import { type ListOwner, ListWatch } from './list-watch.js';
import { OrderlyEnd } from './orderly-end.js';
import type {
  BalancedCalls,
  BalancedRequest,
  ConnectionStatus,
  PeerSource,
  PinnedLease,
  Placed,
  PlacedRequest,
  StartedCall,
} from './peer-source.js';
import { PinnedCalls, type PinningHost } from './pinned-calls.js';
import { PlacedOnEndpoint, Placing } from './placing.js';
import type { FailedCall } from './repeated-call.js';
import type { Resolver } from './resolver.js';
import { Search, SOON } from './search.js';
import { Selection } from './selection.js';
import type { ServerAddress } from './server-address.js';
import { StallWatch } from './stall-watch.js';
import { WaitingRoom } from './waiting-room.js';

export interface FleetOptions extends Omit<EndpointsOptions, 'make'> {
  /** The servers in messages. */
  readonly where: string;
  readonly resolver: Resolver;
  readonly balancer: Balancer<Endpoint>;
  readonly health: FleetHealth;
  readonly makeEndpoint: (address: string, server: ServerAddress, owner: EndpointOwner) => Endpoint;
  readonly limits: RapLimits;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly calling: CallingPath | undefined;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly onStatus: (status: ConnectionStatus, reason?: Fault) => void;
  readonly onEndpoint: (change: EndpointChange) => void;
  /** The servers cannot be found. */
  readonly onResolverError: (error: Error) => void;
  /** Some of what the resolver says is wrong; the rest is used. */
  readonly onResolverMistake: (error: Error) => void;
}

/** The servers of a client: finds them, keeps connections to them, and spreads calls over those that can take them. */
export class Fleet implements PeerSource, BalancedCalls, HedgeHost, PinningHost, EndpointOwner, ListOwner {
  readonly balanced: BalancedCalls = this;
  readonly where: string;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly waiting: WaitingRoom;
  readonly #endpoints: Endpoints;
  readonly #selection: Selection;
  readonly #search: Search<Endpoint>;
  readonly #drained: (() => void)[] = [];
  readonly #stalls: StallWatch;
  /** `undefined`: the next call starts it. */
  #watch: ListWatch | undefined;
  /** Whether the resolver has answered since the start. */
  #isListed = false;
  /** Whether a server could be reached since the start. */
  #wasOpen = false;
  /** Why no server takes calls, if none does. */
  problem: Fault | undefined;
  readonly #status: FleetStatus;
  #isUpdating = false;
  readonly #ending = new OrderlyEnd(() => this.start());

  constructor(private readonly options: FleetOptions) {
    const { where, clock, deadlines, limits, balancer, addressOf, subset, makeEndpoint, random } = options;
    this.where = where;
    this.clock = clock;
    this.deadlines = deadlines;
    this.waiting = new WaitingRoom(where, limits, clock);
    this.#stalls = new StallWatch(clock, () => this.#endpoints.haveCalls);
    this.#selection = new Selection(balancer);
    this.#status = new FleetStatus(options.onStatus);
    this.#search = new Search(random);
    this.#endpoints = new Endpoints({
      addressOf,
      subset,
      make: (address, server) => makeEndpoint(address, server, this),
    });
  }

  /** Any peer. */
  get peer(): ClientPeer | undefined {
    return this.#endpoints.peer;
  }

  // --- calls --------------------------------------------------------------------------------------------------

  call(request: BalancedRequest, sink: ReplySink): StartedCall {
    const { hedges } = this.options.health;
    if (sink.stream) return this.#begin(new StreamableCall(request, sink, this));
    if (hedges && request.idempotent) return this.#begin(new HedgedCall(request, sink, this, hedges));
    return this.#begin(new BalancedCall(request, sink, this));
  }

  event(request: BalancedRequest, sink: ReplySink): StartedCall {
    return this.#begin(new BalancedEvent(request, sink, this));
  }

  #begin<T extends { start(): void }>(call: T): T {
    this.begun();
    this.start();
    call.start();
    return call;
  }

  begun(): void {
    this.options.health.called();
    this.#stalls.used();
  }

  async place(request: PlacedRequest): Promise<Placed> {
    this.begun();
    const placing = this.#placing(request);
    return new PlacedOnEndpoint(await placing.place(), placing);
  }

  async acquire(what: string, timeoutMs: number, held?: unknown): Promise<ClientPeer> {
    const request: PlacedRequest = { ...requestOf(what, timeoutMs, held), isUnjudged: true };
    const { peer } = await this.#placing(request).place();
    return peer;
  }

  async lease(what: string, timeoutMs: number, exclusive: boolean): Promise<PinnedLease> {
    const { endpoint, isProbe, lease } = await this.#placing(requestOf(what, timeoutMs)).lease(exclusive);
    return new PinnedCalls(this, endpoint, lease.peer, isProbe).leased(lease);
  }

  #placing(request: PlacedRequest): Placing {
    this.start();
    return new Placing(request, this);
  }

  hold(body: unknown): unknown {
    const { limits, calling } = this.options;
    return hold(body, limits, calling?.holdsValues === true);
  }

  // --- BalancedHost -------------------------------------------------------------------------------------------

  pick(
    call: PickedCall | undefined,
    tried: ReadonlySet<Endpoint> | undefined,
    mayProbe = true,
  ): Endpoint | undefined {
    return this.#selection.pick(call, tried, mayProbe);
  }

  peerOf(endpoint: Endpoint): ClientPeer | undefined {
    return endpoint.peer;
  }

  mayHedge({ executions, tried }: Pick<FailedCall, 'executions' | 'tried'>): boolean {
    return this.options.health.mayHedge(executions) && this.#selection.hasOthers(tried);
  }

  probing(endpoint: Endpoint): void {
    this.options.health.probing(endpoint);
    endpoint.beginProbe();
  }

  verdictOf(fault: Fault, startedAt: number): Verdict {
    const verdict = verdictOf(fault);
    const isLostOrLate = verdict === 'failed' && fault.sent === 'unknown';
    return isLostOrLate && this.#stalls.stoodStillSince(startedAt) ? 'ignored' : verdict;
  }

  ended(endpoint: Endpoint, fault: Fault | undefined, startedAt: number): void {
    this.options.health.ended(endpoint, fault, startedAt);
  }

  probed(endpoint: Endpoint, verdict: Verdict): void {
    this.options.health.probed(endpoint, verdict);
    endpoint.repeatProbe(); // if it said nothing
    this.#update();
  }

  repeatAfterMs({ tried, ...failed }: FailedCall): number | undefined {
    const { size } = this.#endpoints;
    const hasOthers = this.#selection.hasOthers(tried);
    return this.options.health.repeatAfterMs({ ...failed, servers: size, hasOthers });
  }

  copyOf(held: unknown): unknown {
    return held instanceof Snapshot ? this.hold(held.value) : held;
  }

  captureContext(): CapturedContext | undefined {
    return this.options.calling && captureContext();
  }

  // --- life ---------------------------------------------------------------------------------------------------

  /** Finds the servers and connects to them; the first call does it, too. */
  start(): void {
    if (this.#watch?.hasFailed === false) return;
    this.waiting.open();
    if (this.#ending.defersStart()) return;
    const watch = (this.#watch = new ListWatch(this.options.resolver, this));
    this.#status.tell('connecting'); // a listener may close the client
    if (watch.start()) return;
    this.#watch = undefined; // the next call asks again
    this.#update();
  }

  close(reason: string): void {
    const refusal = connectionLost(`the client of ${this.where} was closed: ${reason}`, undefined, 'no');
    this.#end(refusal, (endpoint) => endpoint.close(reason));
  }

  async drain(): Promise<void> {
    const refusal = connectionLost('the client was drained', undefined, 'no');
    this.#end(refusal, (endpoint) => endpoint.finish());
    if (this.#endpoints.areDrained) return;
    await new Promise<void>((resolve) => this.#drained.push(resolve));
  }

  #end(refusal: Fault, end: (endpoint: Endpoint) => void): void {
    this.#ending.run(() => {
      this.#stop();
      this.#selection.update([]); // what was not sent must not move to a server that is closed next
      this.waiting.refuse(refusal);
      for (const endpoint of this.#endpoints.all()) end(endpoint);
      this.#update();
    });
  }

  #stop(): void {
    this.#watch?.stop();
    this.#watch = undefined;
    this.#stalls.stop();
    this.#isListed = this.#wasOpen = false;
    this.problem = undefined;
  }

  // --- ListOwner ----------------------------------------------------------------------------------------------

  listed(servers: readonly ServerAddress[]): void {
    this.#isListed = true;
    const { health } = this.options;
    const watch = this.#watch;
    this.#isUpdating = true;
    const { added, removed, isReweighted } = this.#endpoints.update(servers);
    // first: what may be ejected depends on how many there are
    for (const endpoint of added) health.add(endpoint);
    for (const { endpoint, isListed } of removed) {
      health.remove(endpoint);
      endpoint.remove(isListed);
    }
    for (const endpoint of this.#endpoints.listed())
      if (endpoint.state === 'idle' && this.#watch === watch) endpoint.connect();
    this.#isUpdating = false;
    if (this.#watch !== watch) return; // a listener has closed it
    if (this.#endpoints.size > 0) this.waiting.open();
    this.#update(isReweighted);
    if (this.#endpoints.size === 0)
      this.#unlisted(connectionLost(`${this.where} has no servers`, undefined, 'no'));
  }

  unresolved(error: Error): void {
    this.options.onResolverError(error);
    if (this.#isListed && this.#endpoints.size > 0) return; // the last list stays valid
    this.#unlisted(connectionLost(`cannot find the servers of ${this.where}: ${error.message}`, error, 'no'));
  }

  mistaken(error: Error): void {
    this.options.onResolverMistake(error);
  }

  /** There are no servers. Calls wait for them only if there have been some. */
  #unlisted(reason: Fault): void {
    this.problem = reason;
    if (!this.#wasOpen) this.waiting.refuse(reason);
  }

  // --- EndpointOwner ------------------------------------------------------------------------------------------

  changed({ address, lostBy }: Endpoint, state: EndpointState, reason: string | undefined): void {
    if (lostBy) this.#status.lostBy = lostBy;
    const change = { address, state, reason };
    tellEndpoint(change);
    this.options.onEndpoint(change);
    if (!this.#isUpdating) this.#update();
  }

  unreachable(_endpoint: Endpoint, reason: Fault): void {
    this.problem = reason;
    // after the first connection calls wait through an outage: a restart is short
    if (this.#wasOpen || this.#selection.size > 0) return;
    if (this.#isUpdating) return;
    // a call fails once each server has failed while it waited: one that comes back meanwhile takes it
    let allFailedAt = Infinity;
    for (const { failedAt } of this.#endpoints.listed()) allFailedAt = Math.min(allFailedAt, failedAt);
    this.waiting.failAll(noneReached(this.where, this.#endpoints.size, reason), allFailedAt);
  }

  patienceFor(endpoint: Endpoint): Pick<Ending, 'hasOthers' | 'isOutage' | 'isOneOfMany'> {
    const isOutage = !this.#selection.hasOthers(new Set([endpoint]));
    const hasOthers = this.#search.mayWait(endpoint, this.#endpoints.listed(), !isOutage);
    return { hasOthers, isOutage, isOneOfMany: this.#endpoints.size > SOON };
  }

  ejectedUntil(endpoint: Endpoint): number | undefined {
    return this.options.health.ejectedUntil(endpoint);
  }

  drained(endpoint: Endpoint): void {
    if (endpoint.state === 'gone') this.#endpoints.forget(endpoint);
    if (this.#drained.length > 0 && this.#endpoints.areDrained)
      for (const done of this.#drained.splice(0)) done();
  }

  /** States of servers have changed. */
  #update(isReweighted = false): void {
    this.#selection.update(this.#watch ? this.#endpoints.listed() : [], isReweighted);
    const isOpen = this.#selection.size > 0;
    if (isOpen) {
      this.#wasOpen = true;
      this.problem = undefined;
    } else if (this.#status.isConnected) this.#search.lostAll(this.#endpoints.listed());
    if (isOpen) this.#status.tell('connected');
    else if (this.#watch) this.#status.tell(this.#wasOpen ? 'reconnecting' : 'connecting');
    else this.#status.tell('disconnected');
    if (isOpen) this.waiting.retryAll();
  }

  // --- what it shows ------------------------------------------------------------------------------------------

  counts(): FleetCounts {
    const counts = this.#endpoints.counts();
    return { ...counts, queued: counts.queued + this.waiting.size };
  }
}

/** For what needs a server, but is no call. */
function requestOf(what: string, timeoutMs: number, held?: unknown): PlacedRequest {
  return { target: what, header: {}, body: undefined, held, timeoutMs, idempotent: false, isNoCall: true };
}

/** No server of the list could be reached. */
function noneReached(where: string, count: number, reason: Fault): Fault {
  if (count === 1) return reason;
  const message = `none of the ${count} servers of ${where} can be reached; the last: ${reason.message}`;
  return connectionLost(message, reason.cause ?? reason, 'no');
}
