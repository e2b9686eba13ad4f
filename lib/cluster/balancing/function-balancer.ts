import type { BalancerOptions, Candidate, PickedCall } from './balancer.js';
import { isPromise, Mistakes } from './mistakes.js';
import { P2c } from './p2c.js';
import { TieredBalancer } from './tiers.js';

/**
 * Picks the server of a call: one of those given, which are all that the call has not tried. If it throws or returns anything else,
 * `p2c` picks, and the client tells of it once. For what is no call (`connect`, `ping`, a session, `withConnection`) the call has an empty
 * target, no headers and no body, and `p2c` picks without a word if the function cannot do with that.
 */
export type PickFunction = (servers: readonly Candidate[], call: PickedCall) => Candidate | undefined;

/** What a function gets for what is no call. */
const NO_CALL: PickedCall = Object.freeze({ target: '', header: Object.freeze({}), body: undefined });
const FAILED = Symbol('failed');
const RETURNED_NOTHING = 'the balancer function has returned undefined';
const RETURNED_PROMISE = 'the balancer function has returned a promise: it must not be async';
const RETURNED_OTHER = 'the balancer function has returned something that is none of the servers it may pick';

/** Asks a function of the user. */
export class FunctionBalancer<C extends Candidate = Candidate> extends TieredBalancer<C> {
  readonly #fallback: P2c<C>;
  readonly #mistakes: Mistakes;
  #members: ReadonlySet<unknown> = new Set();

  constructor(
    private readonly ask: PickFunction,
    options: BalancerOptions,
  ) {
    super(options);
    this.#fallback = new P2c(options);
    this.#mistakes = new Mistakes(options);
  }

  protected updated(): void {
    this.#members = new Set(this.active);
    Object.freeze(this.active); // a function that sorts them would sort them for the next call, too
    this.#fallback.update(this.active);
  }

  protected choose(call: PickedCall | undefined, avoid: ReadonlySet<C> | undefined): C | undefined {
    const { active } = this;
    const untried = avoid ? Object.freeze(active.filter((candidate) => !avoid.has(candidate))) : active;
    if (untried.length === 0) return undefined;
    const picked = this.#asked(untried, call ?? NO_CALL);
    if (this.#members.has(picked) && !avoid?.has(picked as C)) return picked as C;
    const mistake = isPromise(picked)
      ? RETURNED_PROMISE
      : picked === undefined
        ? RETURNED_NOTHING
        : RETURNED_OTHER;
    if (picked !== FAILED && call) this.#mistakes.tell(mistake);
    return this.#fallback.pick(call, avoid);
  }

  #asked(untried: readonly C[], call: PickedCall): unknown {
    try {
      return this.ask(untried, call);
    } catch (error) {
      if (call !== NO_CALL) this.#mistakes.tell('the balancer function has thrown', error);
      return FAILED;
    }
  }
}
