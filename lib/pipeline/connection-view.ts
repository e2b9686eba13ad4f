import type { Peer } from '../rpc/connection/peer.js';
import type { RapConnection } from './api.js';

/** A peer's connection, as middleware and processors see it. Made on first use. */
export class PeerConnection implements RapConnection {
  readonly #peer: Peer;
  #state: Map<unknown, unknown> | undefined;
  #closed: Promise<void> | undefined;
  #resolve: (() => void) | undefined;
  #isGone: boolean;

  constructor(peer: Peer) {
    this.#peer = peer;
    this.#isGone = peer.state === 'closed';
  }

  get id(): string {
    return this.#peer.connectionId;
  }

  get peer(): RapConnection['peer'] {
    return this.#peer.remote;
  }

  get metadata(): Readonly<Record<string, unknown>> {
    return this.#peer.metadata;
  }

  get state(): Map<unknown, unknown> {
    this.#state ??= new Map();
    return this.#state;
  }

  get closed(): Promise<void> {
    this.#closed ??= this.#isGone ? Promise.resolve() : new Promise((resolve) => (this.#resolve = resolve));
    return this.#closed;
  }

  close(reason = 'closed by the application'): void {
    this.#peer.close(reason);
  }

  /** @internal */
  gone(): void {
    this.#isGone = true;
    this.#resolve?.();
  }
}
