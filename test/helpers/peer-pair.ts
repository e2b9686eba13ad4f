import type { Clock, Timer } from '../../lib/protocol/clock.js';
import { Fault } from '../../lib/protocol/fault.js';
import type { Header } from '../../lib/protocol/frame.js';
import { DeadlineQueue } from '../../lib/rpc/time/deadline-queue.js';
import type { IncomingCall } from '../../lib/rpc/server/incoming-call.js';
import type { IncomingChannel } from '../../lib/rpc/server/incoming-channel.js';
import {
  CLIENT_KEEP_ALIVE,
  DEFAULT_LIMITS,
  SERVER_KEEP_ALIVE,
  serverLoad,
  type KeepAliveOptions,
  type RapLimits,
} from '../../lib/rpc/limits.js';
import { Load } from '../../lib/rpc/load.js';
import type { LoadReport } from '../../lib/rpc/connection/load-report.js';
import type { GradientLimit } from '../../lib/rpc/server/gradient-limit.js';
import { LoadMeter } from '../../lib/rpc/server/load-meter.js';
import { type ClientOwner, ClientPeer } from '../../lib/rpc/client/client-peer.js';
import { type ServerOwner, ServerPeer } from '../../lib/rpc/server/server-peer.js';
import { callingThrough, servingThrough } from '../../lib/pipeline/paths.js';
import type { RapProcessor } from '../../lib/pipeline/api.js';
import { Processors, type ProcessorsOptions } from '../../lib/pipeline/exchange.js';
import type { PingSink } from '../../lib/rpc/connection/pings.js';
import type { CallRequest, ReplySink } from '../../lib/rpc/client/call-request.js';
import type { PendingCall } from '../../lib/rpc/client/pending-call.js';
import { PendingEvent } from '../../lib/rpc/client/pending-event.js';
import { FakeClock } from './fake-clock.js';
import { LinkedLinks } from './linked-links.js';

/** Longer than every timeout of the defaults. */
const FOR_EVER_MS = 24 * 3_600_000;

/** Processors of the tests throw faults, and what fails beside a call is a fault of the code under test. */
const PLAIN: ProcessorsOptions = {
  toFault: (error) => ({ fault: error as Fault, name: 'RapError' }),
  toPublic: (error) => error,
  onError(error) {
    throw error;
  },
};

/** Keeps what a peer tells its owner, in order. */
export class RecordingOwner implements ClientOwner, ServerOwner {
  readonly events: string[] = [];
  /** Calls that came in; their handlers have not ended before the test says so. */
  readonly calls: IncomingCall[] = [];
  /** Channels that were opened; their handlers have not ended before the test says so. */
  readonly channels: IncomingChannel[] = [];
  /** Calls that a connection which drains has handed back. */
  readonly unsent: PendingCall[] = [];
  /** What the server has reported. */
  readonly reports: LoadReport[] = [];
  reason: Fault | undefined;
  /** What a call does when it comes in. */
  serve: ((call: IncomingCall) => void) | undefined;

  onOpen(): void {
    this.events.push('open');
  }

  onCall(call: IncomingCall): void {
    this.calls.push(call);
    this.serve?.(call);
  }

  onChannel(incoming: IncomingChannel): void {
    this.channels.push(incoming);
  }

  onLoad(_peer: ClientPeer, report: LoadReport): void {
    this.reports.push(report);
  }

  onShutdown(_peer: ClientPeer, unsent: PendingCall[]): void {
    this.unsent.push(...unsent);
    this.events.push('shutdown');
  }

  onClose(_peer: ClientPeer | ServerPeer, reason: Fault): void {
    this.events.push('close');
    this.reason = reason;
  }

  /** The call that came in as the `index`-th; the last one by default. */
  call(index = -1): IncomingCall {
    const call = this.calls.at(index);
    if (!call) throw new Error('no such call came in');
    return call;
  }
}

/** Keeps the outcomes of a call or ping; more than one is a fault of the code under test. */
export class RecordingSink implements ReplySink, PingSink {
  readonly outcomes: unknown[] = [];

  resolve(body?: unknown): void {
    this.outcomes.push(body);
  }

  reject(fault: Fault): void {
    this.outcomes.push(fault);
  }

  get settled(): boolean {
    return this.outcomes.length > 0;
  }

  /** The only outcome. */
  get outcome(): unknown {
    if (this.outcomes.length !== 1) throw new Error(`${this.outcomes.length} outcomes instead of one`);
    return this.outcomes[0];
  }

  /** The only outcome, a fault. */
  get fault(): Fault {
    const { outcome } = this;
    if (!(outcome instanceof Fault)) throw new Error(`no fault: ${String(outcome)}`);
    return outcome;
  }
}

export interface PairOptions {
  readonly limits?: Partial<RapLimits>;
  /** Of the server. */
  readonly keepAlive?: Partial<KeepAliveOptions>;
  readonly clientKeepAlive?: Partial<KeepAliveOptions>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** The server measures its load. */
  readonly isMetered?: boolean;
  /** The same, and limits its calls by it. */
  readonly adaptive?: GradientLimit;
  /** What works on each message of the client. */
  readonly clientProcessors?: readonly RapProcessor[];
  /** What works on each message of the server. */
  readonly serverProcessors?: readonly RapProcessor[];
  /** The side that the test plays itself: its peer never gives up waiting. */
  readonly scripted?: 'client' | 'server';
}

/** A client and a server peer in memory, on a clock that the test moves. */
export class PeerPair {
  readonly clock = new FakeClock();
  readonly lanes = new CountingClock(this.clock);
  readonly deadlines = new DeadlineQueue(this.lanes);
  readonly load: Load;
  readonly meter: LoadMeter | undefined;
  readonly links: LinkedLinks;
  readonly clientOwner = new RecordingOwner();
  readonly serverOwner = new RecordingOwner();
  readonly client: ClientPeer;
  readonly server: ServerPeer;

  constructor(options: PairOptions = {}) {
    const limits: RapLimits = { ...DEFAULT_LIMITS, ...options.limits };
    this.load = new Load(serverLoad(limits));
    const { isMetered = false, adaptive } = options;
    const { maxLoopDelayMs } = limits;
    const { clock, load } = this;
    if (isMetered || adaptive) this.meter = new LoadMeter({ clock, load, maxLoopDelayMs, adaptive });
    this.links = new LinkedLinks(limits);
    if (options.scripted) this.links[options.scripted].played = true;
    const shared = { limits, clock: this.clock, deadlines: this.deadlines };
    const patient = { ...limits, openTimeoutMs: 10 * FOR_EVER_MS, declareTimeoutMs: 10 * FOR_EVER_MS };
    this.client = new ClientPeer(this.links.client, {
      ...shared,
      ...(options.scripted === 'client' ? { limits: patient } : {}),
      owner: this.clientOwner,
      keepAlive: { ...CLIENT_KEEP_ALIVE, ...options.clientKeepAlive },
      metadata: options.metadata ?? {},
      calling: options.clientProcessors && callingThrough(new Processors(options.clientProcessors, PLAIN)),
    });
    this.server = new ServerPeer(this.links.server, {
      ...shared,
      ...(options.scripted === 'server' ? { limits: patient } : {}),
      owner: this.serverOwner,
      keepAlive: { ...SERVER_KEEP_ALIVE, ...options.keepAlive },
      load: this.load,
      meter: this.meter,
      id: 'conn-1',
      serving: options.serverProcessors && servingThrough(new Processors(options.serverProcessors, PLAIN)),
    });
  }

  /** Completes the handshake. */
  open(): this {
    this.server.start();
    this.client.start();
    this.flow();
    expect([this.client.state, this.server.state]).toEqual(['open', 'open']);
    return this;
  }

  flow(): void {
    this.links.flow();
  }

  /** Calls `/default/x` from the client. */
  call(body: unknown = null, request: Partial<CallRequest> = {}): { sink: RecordingSink; call: PendingCall } {
    const sink = new RecordingSink();
    const call = this.client.call(requestOf(body, request), sink);
    return { sink, call };
  }

  /** Emits the event `/default/x` from the client. */
  emit(
    body: unknown = null,
    request: Partial<CallRequest> = {},
  ): { sink: RecordingSink; event: PendingCall } {
    const sink = new RecordingSink();
    const event = new PendingEvent(requestOf(body, request), sink, this.client.calls);
    this.client.calls.start(event);
    return { sink, event };
  }

  /** Moves the clock on in steps, with the bytes of each moment. */
  pass(ms: number, stepMs = ms): void {
    for (let left = ms; left > 0; left -= stepMs) {
      this.clock.advance(Math.min(stepMs, left));
      this.flow();
    }
  }

  /** Ends both sides as a test's last step: nothing may be left of it, neither in a table nor as a timer. */
  end(): void {
    this.links.toClient.release();
    this.links.toServer.release();
    this.client.abort(new Fault({ status: 1006, message: 'the test is over' }));
    this.flow();
    this.server.abort(new Fault({ status: 1006, message: 'the test is over' }));
    this.flow();
    for (const incoming of [...this.serverOwner.calls, ...this.serverOwner.channels]) incoming.ended();
    this.meter?.stop();
    expect({
      states: [this.client.state, this.server.state],
      calls: [
        this.client.calls.inFlight,
        this.client.calls.queued,
        this.server.incoming.size,
        this.load.running,
      ],
      held: this.load.account.held,
      channels: [this.client.channels.size, this.server.channels.size],
      closed: [this.clientOwner, this.serverOwner].map(
        ({ events }) => events.filter((event) => event === 'close').length,
      ),
      timers: this.clock.pending - this.lanes.pending,
    }).toEqual({
      states: ['closed', 'closed'],
      calls: [0, 0, 0, 0],
      held: 0,
      channels: [0, 0],
      closed: [1, 1],
      timers: 0,
    });
    this.clock.advance(FOR_EVER_MS);
    expect(this.clock.pending).toBe(0);
  }
}

/** A clock that counts its own timers: the lanes of a deadline queue wait for their time and then go. */
export class CountingClock implements Clock {
  pending = 0;
  /** Timers ever made. */
  made = 0;

  constructor(private readonly clock: FakeClock) {}

  now(): number {
    return this.clock.now();
  }

  after(ms: number, callback: () => void): Timer {
    this.made += 1;
    this.pending += 1;
    let done = false;
    const finish = (): boolean => {
      if (done) return false;
      done = true;
      this.pending -= 1;
      return true;
    };
    const timer = this.clock.after(ms, () => {
      if (finish()) callback();
    });
    return {
      cancel: () => {
        finish();
        timer.cancel();
      },
      hold: (isAwaited) => timer.hold(isAwaited),
    };
  }
}

export function requestOf(body: unknown = null, request: Partial<CallRequest> = {}): CallRequest {
  const { target = '/default/x' } = request;
  return { header: { target } satisfies Header, timeoutMs: 10_000, ...request, target, body };
}
