import type { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import type { ReplySink } from '../rpc/client/call-request.js';
import { TimeLimit } from '../rpc/time/deadline-queue.js';
import { verdictOf } from './failures/classify.js';
import { BalancedCall, type BalancedHost } from './balanced-call.js';
import type { HedgePolicy } from './failures/hedge-policy.js';
import type { BalancedRequest, StartedCall } from './peer-source.js';
import type { FailedCall } from './repeated-call.js';

export interface HedgeHost extends BalancedHost {
  /** Whether the call may have one more attempt that may run, and a server that it has not tried takes calls. */
  mayHedge(call: Pick<FailedCall, 'executions' | 'tried'>): boolean;
}

/**
 * An idempotent call that gets a second attempt on another server if the first takes longer than most calls of its method. The
 * first answer counts, an error of the function too, and the other attempt is cancelled. If one is lost, the other goes on.
 */
export class HedgedCall implements StartedCall {
  readonly #first: Leg;
  #second: Leg | undefined;
  /** The one whose answer counts. */
  #answering: Leg | undefined;
  #isOver = false;
  readonly #startedAt: number;
  readonly #patience = new TimeLimit(() => this.#hedge());

  constructor(
    private readonly request: BalancedRequest,
    private readonly sink: ReplySink,
    private readonly host: HedgeHost,
    private readonly policy: HedgePolicy,
  ) {
    this.#startedAt = host.clock.now();
    this.#first = new Leg(this, request, host);
  }

  get wasSent(): boolean {
    return this.#first.call.wasSent || this.#second?.call.wasSent === true;
  }

  get where(): string | undefined {
    return (this.#answering ?? this.#second ?? this.#first).call.where;
  }

  get expiresAt(): number {
    return this.#first.call.expiresAt;
  }

  start(): void {
    const { policy, request, host } = this;
    policy.called();
    this.#first.call.start();
    const delayMs = policy.delayFor(request.target);
    if (delayMs !== undefined && !this.#isOver) host.deadlines.add(this.#patience, delayMs);
  }

  /** The first attempt takes long. */
  #hedge(): void {
    const { running } = this.#first.call;
    // it waits for a server itself, or may have no other
    if (!running || !this.host.mayHedge(running) || !this.policy.take()) return;
    this.#second = new Leg(this, this.request, this.host, this.#first.call);
    this.#second.call.startAgain();
  }

  answered(leg: Leg, body: unknown, header: Header | null | undefined): void {
    if (this.#isOver) return;
    this.#answering = leg;
    this.#end();
    this.policy.answered(this.request.target, this.host.clock.now() - this.#startedAt);
    this.#otherOf(leg)?.call.abandon();
    this.sink.resolve(body, header);
  }

  failed(leg: Leg, fault: Fault): void {
    leg.isOver = true;
    const other = this.#otherOf(leg);
    if (this.#isOver) return;
    if (other && !other.isOver) {
      if (verdictOf(fault) !== 'answered') return;
      other.call.abandon();
    }
    this.#answering = leg;
    this.#end();
    this.sink.reject(fault);
  }

  abandon(): void {
    if (this.#isOver) return;
    this.#end();
    this.#first.call.abandon();
    this.#second?.call.abandon();
  }

  #end(): void {
    this.#isOver = true;
    this.host.deadlines.remove(this.#patience);
  }

  #otherOf(leg: Leg): Leg | undefined {
    return leg === this.#first ? this.#second : this.#first;
  }
}

/** One of the two attempts. */
class Leg implements ReplySink {
  readonly call: BalancedCall;
  isOver = false;

  constructor(
    private readonly owner: HedgedCall,
    request: BalancedRequest,
    host: BalancedHost,
    beside?: BalancedCall,
  ) {
    this.call = new BalancedCall(request, this, host, beside);
  }

  resolve(body: unknown, header?: Header | null): void {
    this.owner.answered(this, body, header);
  }

  reject(fault: Fault): void {
    this.owner.failed(this, fault);
  }
}
