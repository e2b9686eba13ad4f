import type { Clock, Timer } from '../protocol/clock.js';
import type { Fault } from '../protocol/fault.js';
import { heldBytes } from '../protocol/held-body.js';
import { callTimeout } from '../rpc/client/call-timeout.js';
import { type DeadlineQueue, Expiring } from '../rpc/time/deadline-queue.js';
import type { Endpoint } from './endpoint.js';
import { Attempts } from './failures/attempts.js';
import type { FailedAttempt } from './fleet-health.js';
import type { PlacedRequest } from './peer-source.js';
import type { Waiting, WaitingRoom } from './waiting-room.js';

/** A call whose last attempt has failed. */
export type FailedCall = Omit<FailedAttempt, 'servers' | 'hasOthers'> & {
  readonly tried: ReadonlySet<Endpoint>;
};

/** What a call that may be repeated needs of its fleet. */
export interface RepeatingHost {
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly waiting: WaitingRoom;
  /** The servers in messages. */
  readonly where: string;
  /** Why no server takes calls, if that is known. */
  readonly problem: Fault | undefined;
  /** Time until the next attempt, 0 for at once; `undefined`: the call has failed. */
  repeatAfterMs(failed: FailedCall): number | undefined;
}

/**
 * What is tried on one server after the other. Between two attempts it waits, in the waiting room or for its backoff, within its
 * own time limit.
 */
export abstract class RepeatedCall<R extends PlacedRequest, H extends RepeatingHost>
  extends Expiring
  implements Waiting
{
  /** Servers that it has tried. */
  protected tried: Set<Endpoint> | undefined;
  /** Its attempts that have failed. */
  protected attempts: Attempts | undefined;
  /** Those that may have run. */
  protected runs = 0;
  /** Those that have not. */
  #moves = 0;
  #backoff: Timer | undefined;

  constructor(
    protected readonly request: R,
    protected readonly host: H,
  ) {
    super();
  }

  get bytes(): number {
    return heldBytes(this.request.held);
  }

  /** The server of the last attempt. */
  abstract get where(): string | undefined;

  /** Starts the first attempt, or the next one. */
  abstract start(): void;
  /** It has failed, and is not repeated. */
  protected abstract giveUp(fault: Fault): void;

  /** Attempts that may have run, or may be running now. */
  protected get executions(): number {
    return this.runs;
  }

  /** An attempt has failed. Returns the time until the next one, 0 for at once; `undefined` if it is not repeated. */
  protected repeatAfterMs(endpoint: Endpoint, fault: Fault, startedAt: number): number | undefined {
    const { host, request } = this;
    const now = host.clock.now();
    if (fault.sent === 'no') this.#moves += 1;
    else this.runs += 1;
    const tried = (this.tried ??= new Set());
    tried.add(endpoint);
    this.attempts ??= new Attempts(startedAt);
    this.attempts.failed(endpoint.address, fault, now);
    const { idempotent } = request;
    const { executions } = this;
    const remainingMs = this.expiresAt - now;
    return host.repeatAfterMs({ fault, idempotent, executions, moves: this.#moves, remainingMs, tried });
  }

  // --- waiting ------------------------------------------------------------------------------------------------

  /** No server takes calls now. */
  protected wait(): void {
    this.#waits(this.host.waiting.add(this));
  }

  /** The next attempt is due in some time. */
  protected pause(ms: number): void {
    const { waiting, clock } = this.host;
    if (this.#waits(waiting.pause(this))) this.#backoff = clock.after(ms, () => this.retry());
  }

  #waits(refusal: Fault | undefined): boolean {
    const { deadlines, clock } = this.host;
    if (refusal) this.giveUp(this.attempts?.last ?? refusal);
    else deadlines.add(this, Math.max(1, this.expiresAt - clock.now()));
    return refusal === undefined;
  }

  protected stopWaiting(): void {
    const { waiting, deadlines } = this.host;
    waiting.remove(this);
    deadlines.remove(this);
    this.#backoff?.cancel();
    this.#backoff = undefined;
  }

  retry(): void {
    this.stopWaiting();
    this.startAgain();
  }

  /** Starts the next attempt, from wherever. */
  protected startAgain(): void {
    this.start();
  }

  fail(reason: Fault): void {
    this.stopWaiting();
    this.giveUp(reason);
  }

  override expire(): void {
    this.stopWaiting();
    const { target, timeoutMs } = this.request;
    const { where, problem } = this.host;
    const timing = { target, timeoutMs, where: this.where ?? where };
    this.giveUp(callTimeout(timing, 'connect', this.attempts?.last ?? problem));
  }
}
