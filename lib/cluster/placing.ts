import type { Fault } from '../protocol/fault.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { PickedCall } from './balancing/balancer.js';
import { ChannelUse, type Judge } from './channel-use.js';
import type { Endpoint } from './endpoint.js';
import { withAttempts } from './failures/attempts.js';
import type { Placed, PlacedRequest } from './peer-source.js';
import type { Lease } from './pooled-connection.js';
import { RepeatedCall, type RepeatingHost } from './repeated-call.js';

/** What placing needs of its fleet. */
export interface PlacingHost extends RepeatingHost, Judge {
  /** The server for a channel, or for what is no call; `undefined` if none takes calls now. */
  pick(
    call: PickedCall | undefined,
    avoid: ReadonlySet<Endpoint> | undefined,
    mayProbe: boolean,
  ): Endpoint | undefined;
  /** What was picked is the probe of an ejected server. */
  probing(endpoint: Endpoint): void;
  /** A body for one more attempt: processors may change theirs. */
  copyOf(held: unknown): unknown;
}

/** A server that takes calls, and a connection to it. */
export interface Picked {
  readonly endpoint: Endpoint;
  readonly peer: ClientPeer;
  /** What is sent first shows whether the server, which was ejected, is well again. */
  readonly isProbe: boolean;
}

/** A connection that a caller is bound to. */
export type Leased = Omit<Picked, 'peer'> & { readonly lease: Lease };

/** Picks a peer for a channel or session as soon as there is one, and another if the server has refused the channel. */
export class Placing extends RepeatedCall<PlacedRequest, PlacingHost> {
  #resolve!: (picked: Picked) => void;
  #reject!: (reason: Fault) => void;
  readonly #startedAt: number;
  #where: string | undefined;

  constructor(request: PlacedRequest, host: PlacingHost) {
    super(request, host);
    this.#startedAt = host.clock.now();
    this.expiresAt = this.#startedAt + request.timeoutMs;
  }

  get where(): string | undefined {
    return this.#where;
  }

  /** A channel is opened there. */
  use({ endpoint, isProbe }: Picked): ChannelUse {
    return new ChannelUse(endpoint, this.host, isProbe);
  }

  /** What was held, for one attempt. */
  get body(): unknown {
    return this.host.copyOf(this.request.held);
  }

  /** @throws Fault if there is none in time */
  place(): Promise<Picked> {
    return this.#picked(() => this.start());
  }

  /**
   * Binds a caller to a connection; `exclusive`: one that nobody else uses, to another server if it cannot be opened.
   *
   * @throws Fault, with all attempts, if there is none in time
   */
  async lease(exclusive: boolean): Promise<Leased> {
    const { target: what, timeoutMs } = this.request;
    for (let picked = await this.place(); ;) {
      const { endpoint, peer, isProbe } = picked;
      if (!exclusive) return { endpoint, isProbe, lease: endpoint.pool.hold(peer) };
      const leftMs = Math.max(1, this.expiresAt - this.host.clock.now());
      try {
        return { endpoint, isProbe, lease: await endpoint.pool.lease({ what, timeoutMs, leftMs }) };
      } catch (error) {
        const fault = error as Fault;
        if (isProbe) this.host.probed(endpoint, this.host.verdictOf(fault, this.#startedAt));
        picked = await this.again(endpoint, fault);
      }
    }
  }

  /** The server has refused it, with this fault. @throws the fault, with all attempts, if it may not go to another */
  again(endpoint: Endpoint, fault: Fault): Promise<Picked> {
    this.#where = endpoint.address;
    return this.#picked(() => {
      const afterMs = this.repeatAfterMs(endpoint, fault, this.#startedAt);
      if (afterMs === undefined) this.giveUp(fault);
      else if (afterMs > 0) this.pause(afterMs);
      else this.start();
    });
  }

  async #picked(begin: () => void): Promise<Picked> {
    for (let next = begin; ; next = () => this.start()) {
      const picked = await new Promise<Picked>((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
        next();
      });
      // it may have been lost between its opening and this use
      if (picked.peer.state === 'open') return picked;
    }
  }

  override start(): void {
    const picked = this.#proven();
    if (picked) this.#resolve(picked);
    else this.wait();
  }

  /** Channels do not queue for the proof that the server lives, so they go elsewhere, or wait here. */
  #proven(): Picked | undefined {
    const { request, host, tried } = this;
    const call = request.isNoCall ? undefined : request;
    const now = host.clock.now();
    let unproven: Set<Endpoint> | undefined;
    for (;;) {
      const avoid = unproven && tried ? new Set([...tried, ...unproven]) : (unproven ?? tried);
      const endpoint = host.pick(call, avoid, this.#mayProbe);
      const peer = endpoint?.peer;
      if (!endpoint || !peer || unproven?.has(endpoint)) return undefined;
      if (!peer.mustProve(now)) return this.#picks(endpoint, peer);
      (unproven ??= new Set()).add(endpoint);
    }
  }

  get #mayProbe(): boolean {
    return this.request.isUnjudged !== true;
  }

  #picks(endpoint: Endpoint, peer: ClientPeer): Picked {
    const isProbe = endpoint.isProbeDue && this.#mayProbe;
    if (isProbe) this.host.probing(endpoint);
    return { endpoint, peer, isProbe };
  }

  protected override giveUp(fault: Fault): void {
    this.#reject(withAttempts(fault, this.attempts));
  }
}

/** A channel on the server that was picked. */
export class PlacedOnEndpoint implements Placed {
  readonly peer: ClientPeer;
  readonly where: string;
  readonly body: unknown;
  readonly #endpoint: Endpoint;
  readonly #placing: Placing;
  readonly #use: ChannelUse;

  constructor(picked: Picked, placing: Placing) {
    const { endpoint, peer } = picked;
    this.peer = peer;
    this.where = endpoint.address;
    this.body = placing.body;
    this.#endpoint = endpoint;
    this.#placing = placing;
    this.#use = placing.use(picked);
  }

  taken(): void {
    this.#use.taken();
  }

  ended(fault?: Fault): void {
    this.#use.ended(fault);
  }

  async elsewhere(fault: Fault): Promise<Placed> {
    this.ended(fault);
    return new PlacedOnEndpoint(await this.#placing.again(this.#endpoint, fault), this.#placing);
  }
}
