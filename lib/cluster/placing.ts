import type { Fault } from '../protocol/fault.js';
import { callTimeout } from '../rpc/client/call-timeout.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import { Expiring } from '../rpc/time/deadline-queue.js';
import type { BalancedHost } from './balanced-call.js';
import type { PickedCall } from './balancing/balancer.js';
import type { Endpoint } from './endpoint.js';
import type { Placed } from './peer-source.js';
import type { Waiting } from './waiting-room.js';

export interface PlacingOptions {
  readonly call: PickedCall;
  readonly timeoutMs: number;
  /** Bytes that are kept for it. */
  readonly bytes: number;
  /** The servers in messages. */
  readonly where: string;
  readonly host: Pick<BalancedHost, 'pick' | 'waiting' | 'deadlines' | 'clock'>;
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
  readonly #until: number;

  constructor(private readonly options: PlacingOptions) {
    super();
    this.#until = options.host.clock.now() + options.timeoutMs;
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
    const { call, host } = this.options;
    const endpoint = host.pick(call, undefined);
    const peer = endpoint?.peer;
    if (endpoint && peer) return this.#resolve({ endpoint, peer });
    const refusal = host.waiting.add(this);
    if (refusal) this.#reject(refusal);
    else host.deadlines.add(this, Math.max(1, this.#until - host.clock.now()));
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
