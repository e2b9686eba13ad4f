import type { Clock, Timer } from '../protocol/clock.js';
import type { Link } from '../protocol/link.js';
import type { Fault } from '../protocol/fault.js';
import type { CallingPath } from '../rpc/client/calling.js';
import { type ClientOwner, ClientPeer } from '../rpc/client/client-peer.js';
import type { ConnectionSecurity } from '../rpc/connection/security.js';
import type { KeepAliveOptions, RapLimits } from '../rpc/limits.js';
import type { DeadlineQueue } from '../rpc/time/deadline-queue.js';

/** Overrides of the options for one connection. */
export type Prepared = Partial<Pick<ConnectOptions, 'dial' | 'metadata'>>;

/** How a client connects to one server. */
export interface ConnectOptions {
  /**
   * Called before each attempt to connect; if it rejects, the attempt fails. Its time does not count as time to connect.
   *
   * @param signal aborts if nobody waits for the connection any more
   */
  readonly prepare?: ((signal: AbortSignal) => Promise<Prepared>) | undefined;
  /**
   * Connects to the server; rejects if that cannot be reached. May take `limits.openTimeoutMs` less what DECLARE takes.
   *
   * @param signal as that of `prepare`
   */
  readonly dial: (signal: AbortSignal) => Promise<Link>;
  /** The server in messages. */
  readonly where: string;
  readonly limits: RapLimits;
  readonly keepAlive: KeepAliveOptions;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** The way of calls. Default: straight. */
  readonly calling?: CallingPath | undefined;
  /** Secures every connection. */
  readonly security?: ConnectionSecurity | undefined;
}

/** Who an attempt tells of its outcome. */
export interface AttemptOwner extends ClientOwner {
  /** The server cannot be reached. From the moment that there is a peer, `onOpen` and `onClose` tell the outcome instead. */
  onUnreachable(attempt: ConnectAttempt, cause: unknown): void;
}

/** One attempt to connect to a server, from `prepare` to the answer to DECLARE. */
export class ConnectAttempt {
  /** As soon as the server was reached. */
  peer: ClientPeer | undefined;
  #isOver = false;
  #timer: Timer | undefined;
  /** What is under way lets go of its sockets and timers: they would keep the process alive. */
  readonly #aborting = new AbortController();

  constructor(
    private readonly options: ConnectOptions,
    private readonly owner: AttemptOwner,
  ) {}

  async start(): Promise<void> {
    const { prepare, clock } = this.options;
    const { signal } = this.#aborting;
    let { dial, metadata } = this.options;
    let link: Link;
    let since: number;
    try {
      if (prepare) {
        ({ dial = dial, metadata = metadata } = await prepare(signal));
        if (this.#isOver) return;
      }
      since = clock.now();
      this.#limit();
      link = await dial(signal);
    } catch (error) {
      return this.#fail(error);
    }
    this.#timer?.cancel();
    if (this.#isOver) return link.destroy(); // nobody waits for it any more
    const { limits, keepAlive, deadlines, calling, security, where } = this.options;
    const openTimeoutMs = Math.max(1, limits.openTimeoutMs - (clock.now() - since));
    this.peer = new ClientPeer(link, {
      security,
      owner: this.owner,
      where,
      limits: { ...limits, openTimeoutMs },
      keepAlive,
      clock,
      deadlines,
      metadata,
      calling,
    });
    try {
      this.peer.start();
    } catch (error) {
      this.peer.abort(error as Fault); // its metadata cannot be sent
    }
  }

  /** Ends it; its owner is told only if there is a peer already. */
  cancel(reason: string): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#aborting.abort();
    this.peer?.close(reason);
  }

  /** `dial` has limits of its own; that of the whole holds even if it hangs. */
  #limit(): void {
    const { clock, limits } = this.options;
    this.#timer = clock.after(limits.openTimeoutMs, () =>
      this.#fail(new Error(`not connected within ${limits.openTimeoutMs} ms (limits.openTimeoutMs)`)),
    );
  }

  #fail(cause: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timer?.cancel();
    this.#aborting.abort();
    this.owner.onUnreachable(this, cause);
  }
}

/** Why a server cannot be reached, as text. */
export function unreachable(where: string, cause: unknown): string {
  const why = cause instanceof Error ? describe(cause) : String(cause);
  return `cannot connect to ${where}: ${why}`;
}

/** Node joins the errors of several addresses into one without a message. */
function describe(error: Error): string {
  if (error instanceof AggregateError) return error.errors.map((each: Error) => each.message).join('; ');
  return error.message;
}
