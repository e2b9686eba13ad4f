import type { Socket } from 'node:net';
import type { Clock, Timer } from '../protocol/clock.js';

/** Time after which the next address is tried as well, as in RFC 8305. */
const STAGGER_MS = 250;

export interface RaceOptions {
  readonly clock: Clock;
  /** Starts to connect to an address. */
  readonly open: (address: string) => Socket;
  readonly onConnect: (socket: Socket) => void;
  /** All addresses have failed. */
  readonly onError: (error: Error) => void;
}

/**
 * Connects to the first of several addresses that answers. All attempts go on until one succeeds: Node's `autoSelectFamily`
 * drops an attempt after 250 ms, and so never reaches a distant server if one of its addresses is dead.
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
    socket.on('error', (error) => this.#failed(socket, error)); // attempts that were given up must not throw either
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

/** The errors of several addresses in one, in Node's form. */
function joined(errors: readonly Error[]): Error {
  const [first] = errors as [Error & { code?: unknown }];
  return errors.length === 1 ? first : Object.assign(new AggregateError(errors), { code: first.code });
}

/** The addresses of a name, the families alternating. */
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
