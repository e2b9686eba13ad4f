import type { Fault } from '../protocol/fault.js';
import type { Clock } from '../protocol/clock.js';
import type { Endpoint } from './endpoint.js';
import type { Verdict } from './failures/classify.js';

/** What judges servers by how calls and channels end there. */
export interface Judge {
  readonly clock: Clock;
  /** What a failure says about its server. */
  verdictOf(fault: Fault, startedAt: number): Verdict;
  /** A call or channel has ended: `fault` is why it has failed; `undefined`: well. */
  ended(endpoint: Endpoint, fault: Fault | undefined, startedAt: number): void;
  /** A probe has ended. */
  probed(endpoint: Endpoint, verdict: Verdict): void;
}

/** A channel at a server: it counts there as long as it is open, and its end says whether the server is well. */
export class ChannelUse {
  readonly #openedAt: number;
  #isTaken = false;
  #isOver = false;

  /** @param isProbe whether it shows if an ejected server is well again */
  constructor(
    private readonly endpoint: Endpoint,
    private readonly judge: Judge,
    private isProbe = false,
  ) {
    this.#openedAt = judge.clock.now();
    endpoint.traffic.opened();
  }

  /** The server has taken it: before that, its end says nothing about the server unless it has failed. */
  taken(): void {
    this.#isTaken = true;
    if (this.isProbe) this.judge.probed(this.endpoint, 'answered');
    this.isProbe = false;
  }

  /** It is closed; `fault`: why, if it has failed. Only the first end counts. */
  ended(fault?: Fault): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { endpoint, judge } = this;
    const verdict = fault ? judge.verdictOf(fault, this.#openedAt) : this.#isTaken ? 'answered' : 'ignored';
    const hasFailed = verdict === 'failed' || verdict === 'refused';
    endpoint.traffic.closed(hasFailed ? { openedAt: this.#openedAt, now: judge.clock.now() } : undefined);
    if (this.isProbe) judge.probed(endpoint, verdict);
    else if (verdict !== 'ignored') judge.ended(endpoint, fault, this.#openedAt);
  }
}
