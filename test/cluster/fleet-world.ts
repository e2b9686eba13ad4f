import { Backoff, DEFAULT_RECONNECT } from '../../lib/cluster/backoff.js';
import { type BalancerOption, balancerOf } from '../../lib/cluster/balancing/balancer-of.js';
import { Endpoint, type EndpointChange } from '../../lib/cluster/endpoint.js';
import {
  ejectOptions,
  hedgeOptions,
  type RetryOptions,
  retryOptions,
} from '../../lib/cluster/failures/failure-options.js';
import { FleetHealth } from '../../lib/cluster/fleet-health.js';
import { Fleet } from '../../lib/cluster/fleet.js';
import type {
  BalancedCalls,
  BalancedRequest,
  ConnectionStatus,
  Placed,
  StartedCall,
} from '../../lib/cluster/peer-source.js';
import { DEFAULT_POOL, type PoolOptions } from '../../lib/cluster/pool.js';
import type { Resolver } from '../../lib/cluster/resolver.js';
import type { ServerAddress } from '../../lib/cluster/server-address.js';
import { Fault } from '../../lib/protocol/fault.js';
import type { Frame } from '../../lib/protocol/frame.js';
import type { Link } from '../../lib/protocol/link.js';
import type { Channel } from '../../lib/rpc/channel/channel.js';
import type { CallRequest } from '../../lib/rpc/client/call-request.js';
import type { ClientPeer } from '../../lib/rpc/client/client-peer.js';
import {
  CLIENT_KEEP_ALIVE,
  DEFAULT_LIMITS,
  type RapLimits,
  SERVER_KEEP_ALIVE,
  serverLoad,
} from '../../lib/rpc/limits.js';
import { Load } from '../../lib/rpc/load.js';
import type { IncomingCall } from '../../lib/rpc/server/incoming-call.js';
import { ServerPeer } from '../../lib/rpc/server/server-peer.js';
import { DeadlineQueue } from '../../lib/rpc/time/deadline-queue.js';
import { FakeClock } from '../helpers/fake-clock.js';
import { LinkedLinks } from '../helpers/linked-links.js';
import { CountingClock, RecordingOwner, RecordingSink } from '../helpers/peer-pair.js';
import { seededRandom } from '../helpers/seeded-random.js';

const OVER = new Fault({ status: 1006, message: 'the test is over' });

/** One connection that a client has opened, or tries to. */
export class Dialled {
  readonly links: LinkedLinks;
  readonly owner = new RecordingOwner();
  readonly result: Promise<Link>;
  peer: ServerPeer | undefined;
  #resolve!: (link: Link) => void;
  #reject!: (error: unknown) => void;

  constructor(
    private readonly server: TestServer,
    private readonly world: FleetWorld,
  ) {
    this.links = new LinkedLinks(world.limits);
    this.owner.serve = (call) => {
      server.calls.push(call);
      server.serve?.(call);
    };
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  accept(): void {
    const { world, links, owner } = this;
    this.peer = new ServerPeer(links.server, {
      owner,
      limits: world.limits,
      keepAlive: SERVER_KEEP_ALIVE,
      clock: world.clock,
      deadlines: world.deadlines,
      load: new Load(serverLoad(world.limits)),
      id: `${this.server.address}#${this.server.dials.length}`,
    });
    this.peer.start();
    this.#resolve(links.client);
  }

  refuse(): void {
    this.#reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }));
  }

  /** Frames to the server with this target. */
  sent(target: string): Frame[] {
    return this.links.toServer.to(target);
  }

  /** The connection is reset. */
  reset(): void {
    this.links.server.destroy();
  }
}

/** A server of the fleet: what it does with connections and calls is up to the test. */
export class TestServer {
  readonly dials: Dialled[] = [];
  /** Calls that came in, over all connections. */
  readonly calls: IncomingCall[] = [];
  /** `open`: takes connections; `closed`: refuses them; `silent`: does neither. */
  door: 'open' | 'closed' | 'silent' = 'open';
  serve: ((call: IncomingCall) => void) | undefined;

  constructor(
    readonly address: string,
    private readonly world: FleetWorld,
  ) {}

  dial(): Promise<Link> {
    const dialled = new Dialled(this, this.world);
    this.dials.push(dialled);
    if (this.door === 'open') dialled.accept();
    if (this.door === 'closed') dialled.refuse();
    return dialled.result;
  }

  /** The connection that was opened last. */
  get last(): Dialled {
    const last = this.dials.at(-1);
    if (!last) throw new Error(`${this.address} was not dialled`);
    return last;
  }

  get bodies(): unknown[] {
    return this.calls.map(({ body }) => body);
  }

  /** Answers each call with its address. */
  answer(): this {
    this.serve = (call) => {
      call.reply(this.address);
      call.ended();
    };
    return this;
  }

  /** Answers no call. */
  freeze(): void {
    this.serve = undefined;
  }

  /** Refuses, or fails, each call. */
  fail(init: ConstructorParameters<typeof Fault>[0], name = 'InternalServerErrorException'): void {
    this.serve = (call) => {
      call.fail(new Fault(init), name);
      call.ended();
    };
  }

  /** All its connections are reset, and it takes no more. */
  die(): void {
    this.door = 'closed';
    for (const each of this.dials) each.reset();
  }

  drain(graceMs = 10_000): void {
    for (const { peer } of this.dials) if (peer && peer.state !== 'closed') peer.drain(graceMs);
  }

  /** CANCEL events that its connections got. */
  get cancels(): number {
    return this.dials.reduce((sum, each) => sum + each.sent('/_event/cancel').length, 0);
  }
}

/** A resolver whose answers are those of the test. */
export class TestResolver implements Resolver {
  /** Called inside of `watch`. */
  atOnce:
    ((list: (servers: readonly ServerAddress[]) => void, fail: (error: Error) => void) => void) | undefined;
  watches = 0;
  unwatched = 0;
  #listener: ((servers: readonly ServerAddress[]) => void) | undefined;
  #onError: ((error: Error) => void) | undefined;

  watch(listener: (servers: readonly ServerAddress[]) => void, onError?: (error: Error) => void): () => void {
    this.watches += 1;
    this.#listener = listener;
    this.#onError = onError;
    this.atOnce?.(listener, (error) => onError?.(error));
    return () => (this.unwatched += 1);
  }

  list(...servers: (string | ServerAddress)[]): void {
    this.#listener?.(servers.map((each) => (typeof each === 'string' ? { host: each } : each)));
  }

  fail(message: string): void {
    this.#onError?.(new Error(message));
  }
}

export interface WorldOptions {
  /** Listed inside of `watch`; false: the test lists them. */
  readonly servers?: readonly string[] | false;
  readonly pool?: Partial<PoolOptions>;
  readonly eject?: Parameters<typeof ejectOptions>[0];
  readonly retry?: Parameters<typeof retryOptions>[0];
  readonly hedge?: Parameters<typeof hedgeOptions>[0];
  readonly balancer?: BalancerOption;
  readonly limits?: Partial<RapLimits>;
}

export interface TestCall {
  readonly body?: unknown;
  readonly target?: string;
  readonly idempotent?: boolean;
  readonly timeoutMs?: number;
  /** Takes a stream as well. */
  readonly streams?: boolean;
}

/** What the caller of a call sees. */
export class Caller extends RecordingSink {
  started!: StartedCall;
  isAbandoned = false;
  onSettled: (() => void) | undefined;

  abandon(): void {
    this.isAbandoned = true;
    this.started.abandon();
  }

  override resolve(body?: unknown): void {
    super.resolve(body);
    this.onSettled?.();
  }

  override reject(fault: Fault): void {
    super.reject(fault);
    this.onSettled?.();
  }
}

class StreamCaller extends Caller {
  readonly channels: Channel[] = [];

  stream(channel: Channel): void {
    this.channels.push(channel);
    this.resolve(channel);
  }
}

class TestRequest implements BalancedRequest {
  readonly target: string;
  readonly header: { target: string; accept_stream?: boolean };
  readonly idempotent: boolean;
  readonly timeoutMs: number;
  readonly leftMs: number;

  constructor(
    { target = '/default/x', idempotent = false, timeoutMs = 10_000, streams = false }: TestCall,
    readonly body: unknown,
    readonly held: unknown,
  ) {
    this.target = target;
    this.header = streams ? { target, accept_stream: true } : { target };
    this.idempotent = idempotent;
    this.timeoutMs = this.leftMs = timeoutMs;
  }

  to(_peer: ClientPeer, where: string, body: unknown, leftMs: number): CallRequest {
    const { target, header, timeoutMs } = this;
    return { target, header, body, timeoutMs, leftMs, where };
  }
}

/** A fleet whose servers, resolver and clock the test controls. */
export class FleetWorld {
  readonly clock = new FakeClock();
  readonly lanes = new CountingClock(this.clock);
  readonly deadlines = new DeadlineQueue(this.lanes);
  readonly limits: RapLimits;
  readonly servers = new Map<string, TestServer>();
  readonly resolver = new TestResolver();
  readonly endpoints: Endpoint[] = [];
  readonly changes: EndpointChange[] = [];
  readonly statuses: ConnectionStatus[] = [];
  readonly reasons: (Fault | undefined)[] = [];
  readonly resolverErrors: string[] = [];
  readonly callers: Caller[] = [];
  readonly random = seededRandom(7);
  onStatus: ((status: ConnectionStatus) => void) | undefined;
  onEndpoint: ((change: EndpointChange) => void) | undefined;
  readonly fleet: Fleet;

  constructor(options: WorldOptions = {}) {
    const { servers = ['a', 'b', 'c'] } = options;
    const { clock, deadlines, random } = this;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    if (servers) this.resolver.atOnce = (list): void => list(servers.map((host) => ({ host })));
    const now = (): number => clock.now();
    this.fleet = new Fleet({
      where: 'the fleet',
      resolver: this.resolver,
      random,
      balancer: balancerOf<Endpoint>(options.balancer ?? 'roundRobin', { now, random }),
      health: new FleetHealth({
        now,
        random,
        eject: ejectOptions(options.eject),
        retry: retryOptions(options.retry) as RetryOptions,
        hedge: hedgeOptions(options.hedge),
      }),
      addressOf: ({ host }) => String(host),
      subset: (addresses) => new Set(addresses),
      makeEndpoint: (address, server, owner) => {
        const endpoint = new Endpoint({
          address,
          server,
          connect: {
            dial: () => this.server(address).dial(),
            where: address,
            limits: this.limits,
            keepAlive: CLIENT_KEEP_ALIVE,
            clock,
            deadlines,
            metadata: {},
          },
          pool: { ...DEFAULT_POOL, ...options.pool },
          backoff: new Backoff(DEFAULT_RECONNECT, now, random),
          owner,
          random,
        });
        this.endpoints.push(endpoint);
        return endpoint;
      },
      limits: this.limits,
      clock,
      deadlines,
      calling: undefined,
      onStatus: (status, reason) => {
        this.statuses.push(status);
        this.reasons.push(reason);
        this.onStatus?.(status);
      },
      onEndpoint: (change) => {
        this.changes.push(change);
        this.onEndpoint?.(change);
      },
      onResolverError: ({ message }) => this.resolverErrors.push(message),
      onResolverMistake: ({ message }) => this.resolverErrors.push(message),
    });
  }

  server(address: string): TestServer {
    let server = this.servers.get(address);
    if (!server) this.servers.set(address, (server = new TestServer(address, this)));
    return server;
  }

  /** The endpoint of a server that is listed, or was last. */
  endpoint(address: string): Endpoint {
    const found = this.endpoints.findLast((each) => each.address === address);
    if (!found) throw new Error(`no endpoint for ${address}`);
    return found;
  }

  state(address: string): string {
    return this.endpoint(address).state;
  }

  /** Connects to all servers, which answer from then on. */
  async open(): Promise<this> {
    this.fleet.start();
    await this.settle();
    for (const server of this.servers.values()) server.answer();
    return this;
  }

  /** @param by the fleet, or what a session calls through */
  call(call: TestCall = {}, by?: BalancedCalls): Caller {
    return this.#begin(call, 'call', by);
  }

  emit(call: TestCall = {}): Caller {
    return this.#begin(call, 'event');
  }

  /** A peer for a channel. */
  place(timeoutMs: number): Promise<Placed> {
    const request = { target: '/default/c', header: {}, body: undefined, held: undefined };
    return this.fleet.place({ ...request, timeoutMs, idempotent: false });
  }

  #begin(call: TestCall, kind: 'call' | 'event', by: BalancedCalls = this.fleet): Caller {
    const caller = call.streams ? new StreamCaller() : new Caller();
    this.callers.push(caller);
    const { body = 'x' } = call;
    caller.started = by[kind](new TestRequest(call, body, this.fleet.hold(body)), caller);
    return caller;
  }

  /** A call to this server, by trying. */
  async callTo(address: string, call: TestCall = {}): Promise<Caller> {
    const server = this.server(address);
    for (let i = 0; i < 10; i += 1) {
      const before = server.calls.length;
      const caller = this.call(call);
      await this.settle();
      if (server.calls.length > before) return caller;
      caller.abandon();
      await this.settle();
    }
    throw new Error(`no call went to ${address}`);
  }

  /** Lets bytes and promises come to rest. */
  async settle(): Promise<void> {
    for (let i = 0; i < 12; i += 1) {
      for (const { dials } of this.servers.values()) for (const { links } of dials) links.flow();
      await Promise.resolve();
    }
  }

  async pass(ms: number, stepMs = 50): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.clock.advance(Math.min(stepMs, left));
      await this.settle();
    }
  }

  /** Ends everything: nothing may be left of it. */
  async end(): Promise<void> {
    this.fleet.close('the test is over');
    await this.settle();
    for (const { dials } of this.servers.values())
      for (const { peer, owner } of dials) {
        peer?.abort(OVER);
        for (const incoming of [...owner.calls, ...owner.channels]) incoming.ended();
      }
    await this.settle();
    const dials = this.#dialCount;
    expect({
      unsettled: this.callers.filter(({ outcomes, isAbandoned }) => !isAbandoned && outcomes.length !== 1)
        .length,
      afterAbandon: this.callers.filter(({ outcomes, isAbandoned }) => isAbandoned && outcomes.length > 1)
        .length,
      inFlight: this.endpoints.filter(({ traffic }) => traffic.inFlight !== 0 || traffic.channels !== 0)
        .length,
      connections: this.endpoints.filter(({ pool }) => pool.size > 0).length,
      counts: { ...this.fleet.counts(), endpoints: [], lateAnswers: 0 },
      timers: this.clock.pending - this.lanes.pending,
      held: this.clock.held,
      watching: this.resolver.watches - this.resolver.unwatched,
    }).toEqual({
      unsettled: 0,
      afterAbandon: 0,
      inFlight: 0,
      connections: 0,
      counts: {
        connections: 0,
        inFlight: 0,
        queued: 0,
        channels: 0,
        waitingForCredit: 0,
        lateAnswers: 0,
        endpoints: [],
      },
      timers: 0,
      held: 0,
      watching: 0,
    });
    this.clock.advance(24 * 3_600_000);
    await this.settle();
    expect([this.clock.pending, this.#dialCount]).toEqual([0, dials]);
  }

  get #dialCount(): number {
    return [...this.servers.values()].reduce((sum, server) => sum + server.dials.length, 0);
  }
}

export let world: FleetWorld;

export function fresh(options?: WorldOptions): FleetWorld {
  world = new FleetWorld(options);
  return world;
}

afterEach(() => world.end());
