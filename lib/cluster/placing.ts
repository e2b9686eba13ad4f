import type { Fault } from '../protocol/fault.js';
import { callTimeout } from '../rpc/client/call-timeout.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import { Expiring } from '../rpc/time/deadline-queue.js';
import type { BalancedHost } from './balanced-call.js';
import type { PickedCall } from './balancing/balancer.js';
import type { Endpoint } from './endpoint.js';
import type { Placed } from './peer-source.js';
import type { Waiting } from './waiting-room.js';

/** What placing needs of its fleet. */
export interface PlacingHost extends Pick<BalancedHost, 'waiting' | 'deadlines' | 'clock'> {
  /** The server for a channel; `undefined` if none takes calls now. */
  pickForChannel(call: PickedCall, tried: ReadonlySet<Endpoint> | undefined): Endpoint | undefined;
}

export interface PlacingOptions {
  readonly call: PickedCall;
  /** The limit as the caller knows it. */
  readonly timeoutMs: number;
  /** When it is over, on the clock. */
  readonly until: number;
  /** Bytes that are kept for it. */
  readonly bytes: number;
  /** The servers in messages. */
  readonly where: string;
  readonly host: PlacingHost;
}

/** A server that takes calls, and a connection to it. */
export interface Picked {
  readonly endpoint: Endpoint;
  readonly peer: ClientPeer;
}

/** Picks a peer for a channel or session, as soon as there is one. */
export class Placing extends Expiring implements Waiting {
  #resolve!: (picked: Picked) => void;
  #reject!: (reason: Fault) => void;

  constructor(private readonly options: PlacingOptions) {
    super();
  }

  get bytes(): number {
    return this.options.bytes;
  }

  start(): Promise<Picked> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#pick();
    });
  }

  #pick(): void {
    const { host, until } = this.options;
    const picked = this.#proven();
    if (picked) return this.#resolve(picked);
    const refusal = host.waiting.add(this);
    if (refusal) this.#reject(refusal);
    else host.deadlines.add(this, Math.max(1, until - host.clock.now()));
  }

  /** Channels do not queue for the proof that the server lives, so they go elsewhere, or wait here. */
  #proven(): Picked | undefined {
    const { call, host } = this.options;
    const now = host.clock.now();
    let tried: Set<Endpoint> | undefined;
    for (;;) {
      const endpoint = host.pickForChannel(call, tried);
      const peer = endpoint?.peer;
      if (!endpoint || !peer || tried?.has(endpoint)) return undefined;
      if (!peer.mustProve(now)) return { endpoint, peer };
      (tried ??= new Set()).add(endpoint);
    }
  }

  retry(): void {
    this.options.host.deadlines.remove(this);
    this.#pick();
  }

  fail(reason: Fault): void {
    this.options.host.deadlines.remove(this);
    this.#reject(reason);
  }

  override expire(): void {
    const { host, call, timeoutMs, where } = this.options;
    host.waiting.remove(this);
    this.#reject(callTimeout({ target: call.target, timeoutMs, where }, 'connect'));
  }
}

/** A channel on the server that was picked. */
export class PlacedOnEndpoint implements Placed {
  readonly peer: ClientPeer;
  readonly where: string;
  readonly #endpoint: Endpoint;
  #isOver = false;

  constructor({ endpoint, peer }: Picked) {
    this.peer = peer;
    this.where = endpoint.address;
    this.#endpoint = endpoint;
    endpoint.traffic.opened();
  }

  ended(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#endpoint.traffic.closed();
  }
}
