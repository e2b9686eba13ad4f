import type { Clock } from '../protocol/clock.js';
import type { Fault } from '../protocol/fault.js';
import type { ReplySink } from '../rpc/client/call-request.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { DeadlineQueue } from '../rpc/time/deadline-queue.js';
import { BalancedCall, BalancedEvent, type BalancedHost, StreamableCall } from './balanced-call.js';
import { ChannelUse } from './channel-use.js';
import type { Endpoint } from './endpoint.js';
import type { Verdict } from './failures/classify.js';
import type {
  BalancedCalls,
  BalancedRequest,
  PinnedLease,
  Placed,
  PlacedRequest,
  StartedCall,
} from './peer-source.js';
import type { Lease } from './pooled-connection.js';
import type { WaitingRoom } from './waiting-room.js';

/** What calls that are bound to a connection need of their fleet. */
export interface PinningHost extends BalancedHost {
  /** Something is sent to a server. */
  begun(): void;
}

/** The calls of one caller, over one connection: they count for its server as all others do, and never move to another. */
export class PinnedCalls implements BalancedCalls, BalancedHost {
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly waiting: WaitingRoom;
  readonly where: string;
  readonly problem = undefined;

  /** @param isProbe whether the first of them shows if an ejected server is well again */
  constructor(
    private readonly fleet: PinningHost,
    private readonly endpoint: Endpoint,
    private readonly peer: ClientPeer,
    private isProbe: boolean,
  ) {
    this.clock = fleet.clock;
    this.deadlines = fleet.deadlines;
    this.waiting = fleet.waiting;
    this.where = endpoint.address;
  }

  // --- BalancedCalls ------------------------------------------------------------------------------------------

  call(request: BalancedRequest, sink: ReplySink): StartedCall {
    return this.#started(new (sink.stream ? StreamableCall : BalancedCall)(request, sink, this));
  }

  event(request: BalancedRequest, sink: ReplySink): StartedCall {
    return this.#started(new BalancedEvent(request, sink, this));
  }

  #started(call: BalancedCall): StartedCall {
    this.fleet.begun();
    call.start();
    return call;
  }

  place({ held }: PlacedRequest): Promise<Placed> {
    this.fleet.begun();
    const { endpoint, peer, where } = this;
    const use = new ChannelUse(endpoint, this, this.isProbe);
    this.isProbe = false;
    return Promise.resolve({
      peer,
      where,
      body: held,
      taken: () => use.taken(),
      ended: (fault?: Fault) => use.ended(fault),
    });
  }

  /** The lease of their connection, with them. If none of them has shown that the server is well, its end lets another call do so. */
  leased(lease: Lease): PinnedLease {
    return {
      peer: lease.peer,
      balanced: this,
      release: () => {
        lease.release();
        if (this.isProbe) this.fleet.probed(this.endpoint, 'ignored');
        this.isProbe = false;
      },
    };
  }

  // --- BalancedHost: what is not about the place is the fleet's --------------------------------------------------

  pick(): Endpoint {
    return this.endpoint;
  }

  peerOf(): ClientPeer {
    return this.peer;
  }

  repeatAfterMs(): undefined {
    return undefined;
  }

  probing(endpoint: Endpoint): void {
    this.fleet.probing(endpoint);
  }

  verdictOf(fault: Fault, startedAt: number): Verdict {
    return this.fleet.verdictOf(fault, startedAt);
  }

  ended(endpoint: Endpoint, fault: Fault | undefined, startedAt: number): void {
    if (this.isProbe) this.fleet.probed(endpoint, fault ? this.verdictOf(fault, startedAt) : 'answered');
    else this.fleet.ended(endpoint, fault, startedAt);
    this.isProbe = false;
  }

  probed(endpoint: Endpoint, verdict: Verdict): void {
    this.fleet.probed(endpoint, verdict);
  }

  copyOf(held: unknown): unknown {
    return this.fleet.copyOf(held);
  }

  captureContext(): undefined {
    return undefined; // they have one attempt
  }
}
