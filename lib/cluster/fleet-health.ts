import type { Fault } from '../protocol/fault.js';
import type { Verdict } from './failures/classify.js';
import { Ejector } from './failures/ejection.js';
import type { EjectOptions, HedgeOptions, RetryOptions } from './failures/failure-options.js';
import { HedgePolicy } from './failures/hedge-policy.js';
import { RetryBudget } from './failures/retry-budget.js';
import { mayRepeat, repeatDelayMs } from './failures/retry-policy.js';
import type { Endpoint } from './endpoint.js';

export interface FleetHealthOptions {
  readonly now: () => number;
  readonly random: () => number;
  /** `undefined`: no server is ejected. */
  readonly eject: EjectOptions | undefined;
  readonly retry: RetryOptions;
  /** `undefined`: no second attempts. */
  readonly hedge: HedgeOptions | undefined;
}

/** An attempt that has failed, and what came before it. */
export interface FailedAttempt {
  readonly fault: Fault;
  readonly idempotent: boolean;
  /** Attempts that may have reached a handler, this one included. */
  readonly executions: number;
  /** Attempts that have not. */
  readonly moves: number;
  readonly remainingMs: number;
  /** Servers that are listed. */
  readonly servers: number;
  /** Whether one of those that take calls was not tried. */
  readonly hasOthers: boolean;
}

/** What one service's failures lead to: ejections, repeats, hedges. One budget for all of them. */
export class FleetHealth {
  readonly hedges: HedgePolicy | undefined;
  readonly #ejector: Ejector<Endpoint> | undefined;
  readonly #budget: RetryBudget;
  readonly #retry: RetryOptions;
  readonly #random: () => number;

  constructor({ now, random, eject, retry, hedge }: FleetHealthOptions) {
    this.#random = random;
    this.#retry = retry;
    this.#budget = new RetryBudget(retry.budget, now);
    this.hedges = hedge && new HedgePolicy({ options: hedge, budget: this.#budget, now });
    this.#ejector =
      eject &&
      new Ejector<Endpoint>({
        now,
        random,
        options: eject,
        onEject: (endpoint, reason, untilMs) => endpoint.eject(untilMs, reason),
        onReturn: (endpoint) => endpoint.returned(),
      });
  }

  add(endpoint: Endpoint): void {
    this.#ejector?.add(endpoint);
  }

  remove(endpoint: Endpoint): void {
    this.#ejector?.remove(endpoint);
  }

  /** Until when it is ejected, on the clock; `undefined` if it is not. */
  ejectedUntil(endpoint: Endpoint): number | undefined {
    return this.#ejector?.ejectedUntil(endpoint);
  }

  /** A call begins: its first attempt. */
  called(): void {
    this.#budget.called();
  }

  /** A call goes to a server as its probe. */
  probing(endpoint: Endpoint): void {
    this.#ejector?.probe(endpoint);
  }

  /** Whether a call may have a second attempt beside one that runs. @param executions attempts that may have run, that one included */
  mayHedge(executions: number): boolean {
    return executions === 1 || executions < this.#retry.maxAttempts;
  }

  /** An attempt has ended: `fault` is why it has failed; `undefined`: with an answer. */
  ended(endpoint: Endpoint, fault: Fault | undefined, startedAt: number): void {
    if (fault) this.#ejector?.recordFault(endpoint, fault, startedAt);
    else this.#ejector?.record(endpoint, 'answered', startedAt);
  }

  /** A probe has ended. */
  probed(endpoint: Endpoint, verdict: Verdict): void {
    this.#ejector?.probed(endpoint, verdict);
  }

  /** Time until the next attempt, 0 for at once; `undefined`: the call has failed. */
  repeatAfterMs(failed: FailedAttempt): number | undefined {
    const { fault, idempotent, executions, moves, remainingMs, servers, hasOthers } = failed;
    const { maxAttempts, baseDelayMs, maxDelayMs } = this.#retry;
    const call = { fault, idempotent, attempts: executions, maxAttempts, moves, servers, remainingMs };
    if (mayRepeat(call, this.#budget) === 'no') return undefined;
    const attempts = executions + moves;
    const next = { isSameServer: !hasOthers, attempts, remainingMs, baseDelayMs, maxDelayMs };
    return repeatDelayMs(next, this.#random);
  }
}
