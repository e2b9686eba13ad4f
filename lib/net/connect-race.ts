import type { Socket } from 'node:net';
import type { Clock, Timer } from '../protocol/clock.js';

/** Time after which the next address is tried beside those before it, as RFC 8305 has it. */
const STAGGER_MS = 250;

export interface RaceOptions {
  readonly clock: Clock;
  /** Begins to connect to an address. */
  readonly open: (address: string) => Socket;
  readonly onConnect: (socket: Socket) => void;
  /** No address can be had. */
  readonly onError: (error: Error) => void;
}

/**
 * Connects to the first address of several that answers. Each has as long as the others: Node's own `autoSelectFamily`
 * drops an attempt after 250 ms, and so never reaches a server that is further away, if one of its addresses is dead.
 */
export class ConnectRace {
  readonly #sockets = new Set<Socket>();
  readonly #errors: Error[] = [];
  readonly #left: string[];
  #timer: Timer | undefined;

  constructor(
    addresses: readonly string[],
    private readonly options: RaceOptions,
  ) {
    this.#left = [...addresses];
    this.#next();
  }

  /** Gives all attempts up. */
  stop(): void {
    this.#timer?.cancel();
    this.#left.length = 0;
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  readonly #next = (): void => {
    this.#timer?.cancel();
    const address = this.#left.shift();
    if (address === undefined) return;
    const socket = this.options.open(address);
    this.#sockets.add(socket);
    socket.once('connect', () => this.#connected(socket));
    socket.on('error', (error) => this.#failed(socket, error)); // also of one that was given up
    if (this.#left.length > 0) this.#timer = this.options.clock.after(STAGGER_MS, this.#next);
  };

  #connected(socket: Socket): void {
    if (!this.#sockets.delete(socket)) return;
    this.stop();
    this.options.onConnect(socket);
  }

  #failed(socket: Socket, error: Error): void {
    if (!this.#sockets.delete(socket)) return;
    this.#errors.push(error);
    if (this.#left.length > 0) this.#next();
    else if (this.#sockets.size === 0) this.options.onError(joined(this.#errors));
  }
}

/** As Node joins the errors of several addresses. */
function joined(errors: readonly Error[]): Error {
  const [first] = errors as [Error & { code?: unknown }];
  return errors.length === 1 ? first : Object.assign(new AggregateError(errors), { code: first.code });
}

/** The addresses of a name, families taking turns. */
export function interleaved(
  addresses: readonly { readonly address: string; readonly family: number }[],
): string[] {
  const first = addresses[0]?.family;
  const own = addresses.filter(({ family }) => family === first);
  const others = addresses.filter(({ family }) => family !== first);
  return own
    .flatMap((each, i) => [each, others[i]])
    .concat(others.slice(own.length))
    .flatMap((each) => (each ? [each.address] : []));
}
