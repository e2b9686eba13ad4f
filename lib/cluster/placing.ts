import type { Fault } from '../protocol/fault.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { PickedCall } from './balancing/balancer.js';
import type { Endpoint } from './endpoint.js';
import { withAttempts } from './failures/attempts.js';
import type { Placed } from './peer-source.js';
import { RepeatedCall, type RepeatedRequest, type RepeatingHost } from './repeated-call.js';

/** What placing needs of its fleet. */
export interface PlacingHost extends RepeatingHost {
  /** The server for a channel, or for what is no call; `undefined` if none takes calls now. */
  pickForChannel(
    call: PickedCall | undefined,
    avoid: ReadonlySet<Endpoint> | undefined,
  ): Endpoint | undefined;
  /** A body for one more attempt: processors may change theirs. */
  copyOf(held: unknown): unknown;
}

export interface PlacingRequest extends RepeatedRequest {
  /** What balancers may see; `undefined` for what is no call, such as a session. */
  readonly call?: PickedCall | undefined;
}

/** A server that takes calls, and a connection to it. */
export interface Picked {
  readonly endpoint: Endpoint;
  readonly peer: ClientPeer;
}

/** Picks a peer for a channel or session as soon as there is one, and another if the server has refused the channel. */
export class Placing extends RepeatedCall<PlacingRequest, PlacingHost> {
  #resolve!: (picked: Picked) => void;
  #reject!: (reason: Fault) => void;
  readonly #startedAt: number;
  #where: string | undefined;

  constructor(request: PlacingRequest, host: PlacingHost) {
    super(request, host);
    this.#startedAt = host.clock.now();
    this.expiresAt = this.#startedAt + request.timeoutMs;
  }

  get where(): string | undefined {
    return this.#where;
  }

  /** What was held, for one attempt. */
  get body(): unknown {
    return this.host.copyOf(this.request.held);
  }

  /** @throws Fault if there is none in time */
  place(): Promise<Picked> {
    return this.#picked(() => this.start());
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
    const now = host.clock.now();
    let unproven: Set<Endpoint> | undefined;
    for (;;) {
      const avoid = unproven && tried ? new Set([...tried, ...unproven]) : (unproven ?? tried);
      const endpoint = host.pickForChannel(request.call, avoid);
      const peer = endpoint?.peer;
      if (!endpoint || !peer || unproven?.has(endpoint)) return undefined;
      if (!peer.mustProve(now)) return { endpoint, peer };
      (unproven ??= new Set()).add(endpoint);
    }
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
  #isOver = false;

  constructor({ endpoint, peer }: Picked, placing: Placing) {
    this.peer = peer;
    this.where = endpoint.address;
    this.body = placing.body;
    this.#endpoint = endpoint;
    this.#placing = placing;
    endpoint.traffic.opened();
  }

  ended(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#endpoint.traffic.closed();
  }

  async elsewhere(fault: Fault): Promise<Placed> {
    this.ended();
    return new PlacedOnEndpoint(await this.#placing.again(this.#endpoint, fault), this.#placing);
  }
}
