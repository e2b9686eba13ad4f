import type { Socket } from 'node:net';
import { addressKey } from '../protocol/address-key.js';

/**
 * Connections that are not admitted yet: in a TLS handshake, or before DECLARE. If there are too many, the oldest of the
 * address with the most of them is dropped, so that one address cannot keep all others out.
 */
export class PendingHandshakes {
  readonly #byAddress = new Map<string, Set<Socket>>();
  readonly #done = new WeakMap<Socket, () => void>();
  #size = 0;

  constructor(
    private readonly most: number,
    private readonly onRefused: () => void,
  ) {}

  get size(): number {
    return this.#size;
  }

  /** Adds a new connection. Its socket, or another one, may be destroyed by that. */
  add(socket: Socket): void {
    const key = addressKey(socket.remoteAddress ?? '');
    const ofAddress = this.#byAddress.get(key) ?? new Set();
    this.#byAddress.set(key, ofAddress.add(socket));
    this.#size += 1;
    const done = (): void => {
      if (!ofAddress.delete(socket)) return;
      this.#size -= 1;
      if (ofAddress.size === 0 && this.#byAddress.get(key) === ofAddress) this.#byAddress.delete(key);
    };
    this.#done.set(socket, done);
    socket.once('close', done);
    if (this.#size > this.most) this.#refuseOne();
  }

  /** The connection is admitted. */
  done(socket: Socket): void {
    this.#done.get(socket)?.();
  }

  #refuseOne(): void {
    let busiest: Set<Socket> | undefined;
    for (const sockets of this.#byAddress.values()) {
      if (!busiest || sockets.size > busiest.size) busiest = sockets;
    }
    const [oldest] = busiest ?? [];
    if (!oldest) return;
    this.done(oldest);
    this.onRefused();
    oldest.destroy();
  }
}
