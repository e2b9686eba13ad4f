import type { Traffic } from './traffic.js';

/** What a balancer knows about a server. The object stays the same as long as the server is listed; its numbers change. */
export interface Candidate {
  /** `host:port`, or the path of a Unix socket. Unique among the candidates. */
  readonly address: string;
  /**
   * Its share of the calls, relative to the others: a finite number of at least 0, read at each `update`. 0 makes it a standby: picked
   * only if all others have been tried. If all are 0, they are as if all were 1.
   */
  readonly weight: number;
  /** What its list says about it, such as its zone. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /** The calls of this client to it, and what it reports of itself. */
  readonly traffic: Traffic;
}

/** The call that a server is picked for. */
export interface PickedCall {
  /** `/group/name`. */
  readonly target: string;
  readonly header: Readonly<Record<string, unknown>>;
  /** What the caller passed, the parameters of a stream too; `undefined` for a channel. */
  readonly body: unknown;
}

/** Picks the server of each call among those that can take it now. */
export interface Balancer<C extends Candidate = Candidate> {
  /** The servers that may be picked from now on; the array does not change. Called at the start and after each change. */
  update(candidates: readonly C[]): void;
  /**
   * Picks one. Makes no objects: it is asked for each call.
   *
   * @param call `undefined` for what is no call, such as a session
   * @param avoid servers that this call has tried: picked only if there is no other
   * @returns `undefined` only if there are no candidates
   */
  pick(call: PickedCall | undefined, avoid?: ReadonlySet<C>): C | undefined;
}

/** What makes a balancer for a client. */
export interface BalancerOptions {
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number;
  /** From 0 to 1, 1 excluded. */
  readonly random: () => number;
  /** Told of each kind of mistake in a user's function once; the calls go on without it. */
  readonly mistaken?: ((message: string, cause?: unknown) => void) | undefined;
}
